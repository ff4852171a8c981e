"""A hub, and a user who has no models yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import settings
from broker.settings import Settings
from tests.hub import Hub


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's usual caches are."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_TOKEN", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub that is asked."""
    with Hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.endpoint)
        yield served


@pytest.fixture
def config(offload_dirs: Path) -> Settings:
    return settings.load()


@pytest.fixture
def offline(config: Settings) -> Settings:
    return config.model_copy(update={"offline": True})
