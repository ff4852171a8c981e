"""How much work an item was, by what its script measured of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker import work
from broker.broker import Broker
from tests.broker.jobs import drive, request


@pytest.mark.parametrize(
    ("unit", "measured", "amount"),
    [
        ("pixels", {"frames": 60, "width": 64, "height": 48, "seconds": 2}, 60 * 64 * 48),
        ("pixels", {"from": [64, 48], "to": [128, 96], "frames": 60}, 60 * 64 * 48),
        ("seconds", {"seconds": 11.0, "cues": 3}, 11),
        ("pictures", {"frames": 12, "tags": []}, 12),
    ],
    ids=["stabilize", "upscale", "transcribe", "tag, caption"],
)
def test_each_service_tells_in_its_unit(unit: str, measured: dict[str, Any], amount: float) -> None:
    assert work.told(unit, measured) == amount


@pytest.mark.parametrize(
    "measured",
    [
        {},
        {"frames": None, "seconds": None},
        {"frames": "12", "seconds": "long", "width": "1", "height": "1"},
        {"frames": 0, "seconds": 0, "width": 0, "height": 0},
        {"frames": -3, "seconds": float("nan"), "width": 1, "height": 1},
        {"frames": 10**400, "seconds": 10**400, "width": 1, "height": 1},
        {"frames": 1, "from": 7, "seconds": float("inf")},
        {"frames": [], "from": [1], "seconds": {}},
    ],
)
def test_what_makes_no_sense_tells_nothing(measured: dict[str, Any]) -> None:
    assert work.told("pixels", measured) is None
    assert work.told("seconds", measured) is None
    assert work.told("pages", measured) is None


def test_it_is_remembered_of_a_job_that_nobody_weighed(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "UNITS", {"letters": lambda measured: float(measured["bytes"])})
    job = broker.submit(replace(request(tmp_path / "media", b"one", b"three", b"seven"), unit="letters"))
    broker.journal.weigh(job.id, {2: 70.0})
    drive(broker, job)
    assert [item.amount for item in broker.journal.job(job.id).items] == [3, 5, 70]
    (run,) = [one for one in broker.journal.history.of(broker.targets["local"], "fake") if one.what == "run"]
    assert (run.amount, run.kind.partition("/")[0]) == (78, "letters")


def test_what_nobody_could_weigh_counts_by_its_size_as_its_like_do() -> None:
    def load(name: str, size: int, amount: float | None = None) -> work.Load:
        return work.Load(Path(name), name, size, amount)

    clips = [load("a.mp4", 10, 100), load("b.MP4", 30, 500), load("broken.mp4", 20)]
    photos = [load("c.png", 10, 1000), load("d.jpg", 50)]
    assert work.weighed("pixels", clips) == ("pixels", [100, 500, 20 * 600 / 40])
    assert work.weighed("pixels", [*clips, *photos]) == ("pixels", [100, 500, 300, 1000, 50 * 1600 / 50])
    assert work.weighed("pixels", [load("a.mp4", 10), load("b.mp4", 20)]) == (work.BYTES, [10, 20])
    assert work.weighed("", clips) == (work.BYTES, [10, 30, 20])
    assert work.weighed("pixels", [load("empty.mp4", 0, 7), load("e.mp4", 0)]) == ("pixels", [7, 0])
