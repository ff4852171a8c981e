"""The folders and clips of the commands' tests, and a user who has no models yet."""

from tests.hub import home, hub
from tests.services.conftest import clip_here, data, here, shaky

__all__ = ["clip_here", "data", "here", "home", "hub", "shaky"]
