"""What is kept is known before anything is asked for: a plan says that the cache would answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from broker.broker import Broker
from broker.hashes import Hashes
from broker.job import Request
from tests.broker.again import elsewhere, kept, runs, unique
from tests.broker.jobs import drive
from tests.services.conftest import data, here
from tests.services.typed import fake

__all__ = ["data", "here"]


@pytest.fixture(autouse=True)
def _on(offload_dirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFLOAD_RESULT_BYTES", str(10**8))


def test_what_was_made_before_is_known_item_by_item(broker: Broker, tmp_path: Path) -> None:
    one = unique(tmp_path / "media", b"one")
    drive(broker, one)
    both = elsewhere(unique(tmp_path / "media", b"one", b"two"), tmp_path / "other")
    assert broker.made_before(both) == [one.inputs[0].source]
    assert not list((tmp_path / "other").iterdir())
    assert len(broker.journal.jobs()) == 1


@pytest.mark.parametrize(
    "other",
    [
        lambda asked: replace(asked, params={"told": {}, "ease": 0, "more": 1}),
        lambda asked: replace(asked, cache=False),
        lambda asked: replace(asked, keep=True),
        lambda asked: replace(asked, service="another"),
    ],
    ids=["other parameters", "no cache", "keep", "another service"],
)
def test_what_would_be_made_anew_is_not_among_it(
    other: Callable[[Request], Request], broker: Broker, tmp_path: Path
) -> None:
    asked = unique(tmp_path / "media", b"one")
    drive(broker, asked)
    assert broker.made_before(elsewhere(asked, tmp_path / "other"))
    assert broker.made_before(other(elsewhere(asked, tmp_path / "other"))) == []


def test_nor_what_is_not_there_any_more(broker: Broker, tmp_path: Path) -> None:
    asked = unique(tmp_path / "media", b"one")
    drive(broker, asked)
    for path in kept(broker).folder.iterdir():
        path.unlink()
    assert broker.made_before(elsewhere(asked, tmp_path / "other")) == []


def test_where_nothing_is_kept_nothing_is_hashed_for_it(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hashes, "identify", lambda *_: pytest.fail("it was hashed"))
    assert broker.made_before(unique(tmp_path / "media", b"one")) == []


def test_a_dry_run_says_that_the_cache_would_answer(here: Path, data: Path) -> None:
    words = ("a.dat", "--seconds", "0", "-o", "again.bin", "--dry-run")
    before = fake(here, *words)
    assert "made before" not in before.err
    assert fake(here, *words, "--json").document["cached"] == []
    assert fake(here, "a.dat", "--seconds", "0").code == 0
    said = fake(here, *words)
    assert "this was made before: the cache answers" in said.err
    assert fake(here, *words, "--json").document["cached"] == [str(data)]
    assert not (here / "again.bin").exists()


# Another ffmpeg than the pinned one, on a target


def test_what_a_targets_own_ffmpeg_makes_is_not_kept(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.result_keys.own_ffmpeg", lambda: False)  # it is not set here
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/usr/bin/ffmpeg")  # but where the runner is
    asked = unique(tmp_path / "media", b"one")
    drive(broker, asked)
    [attempt] = broker.journal.attempts(broker.journal.jobs()[0].id)
    assert attempt.versions["own_ffmpeg"] is True
    assert kept(broker).rows.all() == []
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    drive(broker, elsewhere(asked, tmp_path / "other"))
    assert runs(broker) == 2
    assert len(kept(broker).rows.all()) == 1
