"""What goes wrong while a model is pinned: a hub that lies or fails, a full disk, an end in the middle."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tests.hub as double
from broker import models
from broker.errors import ConfigError, IntegrityError, LimitError, MissingHere
from broker.models import lock, store, taking
from broker.settings import Settings
from tests.executors.test_local import tmpfs
from tests.hub import Hub, Trouble, cached, sha256

FILES = {"config.json": b"{}", "model.safetensors": b"weights"}
BIG = bytes(8_000_000)


@pytest.fixture
def small(tmp_path: Path, config: Settings) -> Iterator[Settings]:
    """A cache on a disk of 4 MB."""
    with tmpfs(tmp_path) as disk:
        yield config.model_copy(update={"cache_dir": disk})


def lfs(**told: Any) -> dict[str, Any]:
    return {"lfs": {"sha256": sha256(b"weights"), "size": 7, "pointerSize": 134, **told}}


LIES = {
    "a sha256 that is none": lfs(sha256="zz"),
    "no sha256": lfs(sha256=None),
    "a negative size": lfs(size=-5),
    "a size in words": lfs(size="7"),
    "half of what must be told": {"lfs": {"size": 7}},
    "another size of a small file": {"size": 3},
    "a negative size of a small file": {"size": -3},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_hub_that_lies_is_said_to(hub: Hub, config: Settings, monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    hub.publish("a/b", FILES)
    told, name = LIES[lie], ".safetensors" if "lfs" in LIES[lie] else ".json"
    honest = double._sizes
    monkeypatch.setattr(
        double, "_sizes", lambda file, content: honest(file, content) | (told if file.endswith(name) else {})
    )
    with pytest.raises(IntegrityError, match="says of a/b cannot be: ") as caught:
        models.resolve("hf:a/b", config)
    assert caught.value.exit_code == 9
    assert lock.pins(config) == {}


@pytest.mark.parametrize("about", [{"sha": None}, {"sha": "../../etc"}, {"sha": "e" * 40}, {"siblings": 3}])
def test_a_commit_that_cannot_be_is_refused(
    hub: Hub, config: Settings, monkeypatch: pytest.MonkeyPatch, about: dict[str, Any]
) -> None:
    revision = hub.publish("a/b", FILES)
    honest = double._Handler._about
    monkeypatch.setattr(double._Handler, "_about", lambda self, *words: honest(self, *words) | about)
    with pytest.raises(IntegrityError, match="cannot be"):
        models.resolve(f"hf:a/b@{revision}", config)


def test_what_is_no_hub_is_said_to_be_none(hub: Hub, config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        double._Handler, "_describe", lambda self, path: self._reply(200, {"Content-Type": "text/html"}, b"<html>")
    )
    with pytest.raises(IntegrityError, match="its answer makes no sense") as caught:
        models.resolve("hf:a/b", config)
    assert "HF_ENDPOINT" in caught.value.hint


def test_a_hub_that_is_only_in_trouble_is_no_reason_to_pin_what_lies_around(
    hub: Hub, home: Path, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached(home, "a/b", "f" * 40, FILES)
    monkeypatch.setattr(double._Handler, "_describe", lambda self, path: self._refuse(503, "", "trouble"))
    with pytest.raises(MissingHere, match="503") as caught:
        models.resolve("hf:a/b", config)
    assert "OFFLOAD_OFFLINE=1" in caught.value.hint
    assert lock.pins(config) == {}


def test_a_small_file_that_breaks_off_is_asked_for_again(hub: Hub, config: Settings) -> None:
    hub.publish("a/b", {**FILES, "vocab.json": bytes(200_000)})
    hub.troubles["vocab.json"] = Trouble(cut=100_000, times=2)
    pin = models.resolve("hf:a/b", config)
    assert [file.size for file in pin.files if file.path == "vocab.json"] == [200_000]


def test_a_file_that_breaks_off_is_not_taken_for_the_whole(hub: Hub, config: Settings) -> None:
    url = hub.file("base.pt", bytes(200_000))
    hub.troubles["base.pt"] = Trouble(cut=100_000, times=1)
    with pytest.raises(MissingHere, match="it broke off at byte 100000 of 200000"):
        models.resolve(url, config)
    assert models.resolve(url, config).size == 200_000


@pytest.mark.parametrize("measured", [True, False])
def test_a_disk_too_small_is_named(hub: Hub, small: Settings, monkeypatch: pytest.MonkeyPatch, measured: bool) -> None:
    hub.publish("a/big", {**FILES, "vocab.json": BIG})
    if not measured:  # as if another had filled it meanwhile
        monkeypatch.setattr(
            taking, "check_room", lambda config, size: store.folder(config).mkdir(parents=True, exist_ok=True)
        )
    for source in ("hf:a/big", hub.file("big.pt", BIG)):
        with pytest.raises(LimitError) as caught:
            models.resolve(source, small)
        assert str(store.folder(small)) in str(caught.value)
        assert caught.value.exit_code == 8
    assert lock.pins(small) == {}
    assert [path.name for path in store.folder(small).iterdir() if path.name.endswith(".tmp")] == []
    assert hub.gets("vocab.json") == [] or not measured


def test_a_full_disk_is_no_reason_to_take_what_lies_around(hub: Hub, home: Path, small: Settings) -> None:
    revision = hub.publish("a/b", {**FILES, "vocab.json": BIG})
    cached(home, "a/b", revision, FILES)
    with pytest.raises(LimitError):
        models.resolve("hf:a/b", small)
    assert lock.pins(small) == {}


def test_a_store_that_cannot_be_written_is_named(hub: Hub, config: Settings) -> None:
    store.folder(config).parent.mkdir()
    store.folder(config).write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written: File exists"):
        models.resolve(hub.file("base.pt", b"content"), config)


def test_what_is_interrupted_leaves_nothing(hub: Hub, config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(taking, "TELL_SECONDS", 0.0)
    for source in ("hf:a/b", hub.file("base.pt", b"content")):
        hub.publish("a/b", FILES)
        with pytest.raises(KeyboardInterrupt):
            models.resolve(source, config, tell=interrupt)
        assert list(store.folder(config).iterdir()) == []


def test_what_was_killed_is_swept_and_what_lives_is_not(hub: Hub, config: Settings) -> None:
    folder = store.folder(config)
    folder.mkdir(parents=True)
    dead, living, new = (folder / f".{name}.tmp" for name in ("dead", "living", "new"))
    for draft in (dead, living, new):
        draft.write_bytes(b"half")
    for draft in (dead, living):
        os.utime(draft, (1, 1))
    with living.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        models.resolve(hub.file("base.pt", b"content"), config)
        assert sorted(folder.glob(".*.tmp")) == [living, new]


def test_it_is_told_how_much_has_come(hub: Hub, config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "TELL_SECONDS", 0.0)
    told: list[str] = []
    models.resolve(hub.file("base.pt", BIG), config, tell=told.append)
    assert told[-1] == "fetching base.pt to learn what it is: 8.0 MB of 8.0 MB"
    hub.publish("a/b", FILES)
    models.resolve("hf:a/b", config, tell=told.append)
    assert told[-1] == "fetching a/b: config.json to learn what it is: 0.0 MB of 0.0 MB"


@pytest.mark.parametrize("source", ["hf:a/b", "http://nowhere.invalid/base.pt"])
def test_why_is_said_in_words(home: Path, config: Settings, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("HF_ENDPOINT", "http://nowhere.invalid")
    with pytest.raises(MissingHere, match=r": Name or service not known$"):
        models.resolve(source, config)


@pytest.mark.parametrize("endpoint", ["nonsense", "ftp://hub", "http://[hub", "http://", "https://me:SECRET@hub"])
def test_a_hub_without_an_address_is_a_mistake_in_the_settings(
    home: Path, config: Settings, monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(ConfigError, match="HF_ENDPOINT is no address of a hub") as caught:
        models.resolve("hf:a/b", config)
    assert "SECRET" not in f"{caught.value} {caught.value.hint}"
