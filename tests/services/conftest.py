"""What tests of commands share: a folder to type in, and one real clip."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.media import clip


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An empty folder to type commands in."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def shaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shaky clip with sound, half a second long. Copy it, don't touch it."""
    return clip(tmp_path_factory.mktemp("footage") / "clip.mp4", 0.5)


@pytest.fixture
def clip_here(here: Path, shaky: Path) -> Path:
    """The clip, as `clip.mp4` in the folder to type in."""
    return Path(shutil.copy(shaky, here / "clip.mp4"))


@pytest.fixture
def data(here: Path) -> Path:
    """Something for the fake work, as `a.dat` in the folder to type in."""
    file = here / "a.dat"
    file.write_bytes(b"some work")
    return file
