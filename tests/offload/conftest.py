"""The folders and clips of the commands' tests."""

from tests.services.conftest import clip_here, data, here, shaky

__all__ = ["clip_here", "data", "here", "shaky"]
