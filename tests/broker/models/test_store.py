"""Where files of models are, and whether they are what they should be."""

from __future__ import annotations

from pathlib import Path

from broker.models import store
from broker.models.pin import File, Pin
from broker.settings import Settings
from tests.hub import sha256

CONTENT = b"weights"
FILE = File("base.pt", sha256(CONTENT), len(CONTENT), "https://x/base.pt")
PIN = Pin("https://x/base.pt", "base", "", (FILE,))


def ours(config: Settings, content: bytes = CONTENT) -> Path:
    path = store.folder(config) / FILE.sha256
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def usual(home: Path, content: bytes = CONTENT) -> Path:
    path = home / "whisper" / "base.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


def found(config: Settings) -> Path | None:
    return store.find(config, PIN.source, PIN.revision, FILE.path, FILE.sha256)


def test_what_is_nowhere_is_missing(home: Path, config: Settings) -> None:
    assert store.missing(PIN, config) == [FILE]
    assert [(one.file, one.path) for one in store.verify(PIN, config)] == [(FILE, None)]
    assert found(config) is None


def test_the_users_caches_are_looked_into(home: Path, config: Settings) -> None:
    theirs = usual(home)
    assert store.here(PIN, config) == {FILE.sha256: theirs}
    assert found(config) == theirs
    assert list(store.verify(PIN, config)) == []


def test_our_own_store_comes_first(home: Path, config: Settings) -> None:
    theirs, own = usual(home), ours(config)
    assert found(config) == own != theirs


def test_another_content_under_the_same_name_is_not_taken(home: Path, config: Settings) -> None:
    theirs = usual(home, b"another")
    assert found(config) is None
    assert [(one.path, one.ours) for one in store.verify(PIN, config)] == [(theirs, False)]


def test_a_corrupt_file_of_our_own_is_found(home: Path, config: Settings) -> None:
    path = ours(config, b"weightz")
    assert [(one.path, one.ours) for one in store.verify(PIN, config)] == [(path, True)]
