"""The lock file is written whole or not at all, by whoever comes first, and never over one we cannot read."""

from __future__ import annotations

import json
import multiprocessing
import threading
from pathlib import Path

import pytest

from broker.errors import ConfigError
from broker.models import lock
from broker.models.pin import File, Pin
from broker.settings import Settings


def a_pin(source: str, number: int) -> Pin:
    return Pin(source, "name", f"revision-{number}", (File("a.bin", f"{number:064x}", 3), File("b/c.json", "0" * 64)))


def test_what_was_written_is_read(config: Settings) -> None:
    url = Pin("https://x/y.pt", "y", "", (File("y.pt", "1" * 64, None, "https://x/y.pt"),))
    for pin in (a_pin("hf:a/b", 1), url):
        assert lock.add(config, pin) == pin
        assert lock.find(config, pin.source) == pin
    lock.drop(config, "hf:a/b")
    assert lock.pins(config) == {url.source: url}


def test_the_first_pin_counts(config: Settings) -> None:
    first = lock.add(config, a_pin("hf:a/b", 1))
    assert lock.add(config, a_pin("hf:a/b", 2)) == first


def test_nobody_writes_while_another_does(config: Settings) -> None:
    answers: list[Pin] = []
    other = threading.Thread(target=lambda: answers.append(lock.add(config, a_pin("hf:a/b", 2))))
    with lock._change(config) as content:
        other.start()
        other.join(1)
        content.models["hf:a/b"] = lock._written(a_pin("hf:a/b", 1))
    other.join()
    assert answers == [a_pin("hf:a/b", 1)]


def _pin_all(config: Settings, number: int) -> list[str]:
    return [lock.add(config, a_pin(f"hf:a/{index}", number)).revision for index in range(10)]


def test_processes_that_pin_at_once_agree(config: Settings) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        answers = pool.starmap(_pin_all, [(config, number) for number in range(4)])
    written = [lock.pins(config)[f"hf:a/{index}"].revision for index in range(10)]
    assert answers == [written] * 4
    assert sorted(path.name for path in config.config_dir.iterdir()) == [".models.lock.guard", "models.lock"]


def _written(**change: object) -> str:
    model = {"name": "n", "revision": "r", "files": {"a": {"sha256": "0" * 64}}}
    return json.dumps({"version": 1, "models": {"hf:a/b": {**model, **change}}})


DAMAGED = {
    "cut": '{"version": 1, "models": {"hf:a',
    "empty": "",
    "another version": '{"version": 2, "models": {}}',
    "no hash": _written(files={"a": {"sha256": "zz"}}),
    "a path that leads elsewhere": _written(files={"../a": {"sha256": "0" * 64}}),
    "an absolute path": _written(files={"/etc/passwd": {"sha256": "0" * 64}}),
    "no text": "\udcff",
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_file_is_refused_and_left_alone(case: str, config: Settings) -> None:
    file = lock.file(config)
    file.write_bytes(DAMAGED[case].encode("utf-8", "surrogateescape"))
    for attempt in (lambda: lock.pins(config), lambda: lock.add(config, a_pin("hf:a/b", 1))):
        with pytest.raises(ConfigError, match=r"models\.lock cannot be used") as refused:
            attempt()
        assert str(file) in refused.value.hint
    assert file.read_bytes() == DAMAGED[case].encode("utf-8", "surrogateescape")


def test_nothing_half_written_is_left(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    lock.add(config, a_pin("hf:a/b", 1))
    before = lock.file(config).read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lock.os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        lock.add(config, a_pin("hf:c/d", 2))
    assert lock.file(config).read_bytes() == before
    assert not list(Path(config.config_dir).glob("*.tmp")) + list(Path(config.config_dir).glob(".*.tmp"))
