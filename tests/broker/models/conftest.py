"""A hub, a user who has no models yet, and that user's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import settings
from broker.settings import Settings
from tests.hub import home, hub

__all__ = ["home", "hub"]


@pytest.fixture
def config(offload_dirs: Path) -> Settings:
    return settings.load()


@pytest.fixture
def offline(config: Settings) -> Settings:
    return config.model_copy(update={"offline": True})
