"""Segments of an item: several at once, each a checkpoint, and no more work lost than what was under way."""

from __future__ import annotations

import io
import json
import math
import threading
from collections.abc import Generator
from pathlib import Path
from typing import Any, get_args

import pytest

from services.stabilize import Preset

from .runs import part

COUNT = 6


class Desk:
    """A job of one item in the current folder, and a `do` that notes what it was asked for."""

    def __init__(self, checkpoints: dict[str, Path] | None = None) -> None:
        jobs, self.engine = part("_job"), part("_segments")
        self.stream = io.StringIO()
        self.job = jobs.Job({"params": {}, "items": [{"index": 0, "input": "in/0"}]}, self.stream)
        self.item = jobs.Item(0, Path("in/0"), Path("out/0"), {}, checkpoints or {})
        self.segments = [self.engine.Segment(number, f"part-{number}") for number in range(COUNT)]
        self.done: list[int] = []
        self.told: list[tuple[int, float]] = []
        self.busy = self.most = 0
        self.lock = threading.Lock()

    def do(self, segment: Any, folder: Path) -> Generator[float, None, Path]:
        assert not list(folder.iterdir())
        with self.lock:
            self.busy += 1
            self.most = max(self.most, self.busy)
        try:
            yield 0.5
            piece = folder / "made"
            piece.write_text(f"piece {segment.number}")
            self.done.append(segment.number)
            return piece
        finally:
            with self.lock:
                self.busy -= 1

    def work(self, do: Any = None, workers: int = 2) -> list[str]:
        tell = self._tell
        paths = self.engine.work_through(self.job, self.item, self.segments, do or self.do, workers, tell)
        return [path.read_text() for path in paths]

    def _tell(self, number: int, share: float) -> None:
        self.told.append((number, share))

    @property
    def saved(self) -> list[str]:
        events = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [event["name"] for event in events if event["type"] == "checkpoint"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_pieces_come_in_order_however_many_work(workers: int, here: Path) -> None:
    desk = Desk()
    assert desk.work(workers=workers) == [f"piece {number}" for number in range(COUNT)]
    assert sorted(desk.saved) == [f"part-{number}" for number in range(COUNT)]
    assert not (here / "work").exists()


def test_never_more_at_once_than_there_are_workers(here: Path) -> None:
    meeting = threading.Barrier(2, timeout=60)
    desk = Desk()

    def do(segment: Any, folder: Path) -> Generator[float, None, Path]:
        if segment.number < 2:
            meeting.wait()  # two must be at work at once, or this breaks
        return (yield from desk.do(segment, folder))

    desk.work(do, workers=2)
    assert desk.most <= 2


def test_what_an_earlier_attempt_finished_is_not_done_again(here: Path) -> None:
    (here / "found").write_text("piece of before")
    desk = Desk({"part-2": here / "found"})
    assert desk.work()[2] == "piece of before"
    assert sorted(desk.done) == [0, 1, 3, 4, 5]
    assert "part-2" not in desk.saved
    assert desk.told[0] == (2, 1.0)


def test_progress_ends_at_one_for_every_segment(here: Path) -> None:
    desk = Desk()
    desk.work()
    assert {number: max(share for at, share in desk.told if at == number) for number, _ in desk.told} == dict.fromkeys(
        range(COUNT), 1.0
    )


def test_the_first_failure_is_told_and_the_others_stop_where_they_are(here: Path) -> None:
    desk, failed = Desk(), threading.Event()

    def do(segment: Any, folder: Path) -> Generator[float, None, Path]:
        if segment.number == 2:
            failed.set()
            raise ValueError("the third is impossible")
        if segment.number == 1:
            failed.wait(60)
            while True:  # only being stopped ends it
                yield 0.1
        return (yield from desk.do(segment, folder))

    with pytest.raises(ValueError, match="third"):
        desk.work(do)
    assert desk.done == [0]
    assert desk.saved == ["part-0"]
    assert Path("out/0/checkpoints/part-0").read_text() == "piece 0"
    assert not (here / "work").exists()


def test_nothing_half_done_is_ever_saved(here: Path) -> None:
    desk = Desk()

    def do(segment: Any, folder: Path) -> Generator[float, None, Path]:
        (folder / "made").write_text("half")
        yield 0.5
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="disk"):
        desk.work(do)
    assert not desk.saved
    assert not list(Path("out").rglob("*"))


def test_no_more_work_at_once_than_memory_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 8000000 kB\nMemAvailable:    2000000 kB\n")
    segments = part("_segments")
    monkeypatch.setattr(segments._cgroup, "free_memory", lambda: math.inf)
    assert segments.free_memory(told) == 2_048_000_000
    monkeypatch.setattr(segments, "cores", lambda: 8)
    monkeypatch.setattr(segments, "free_memory", lambda: 2_048_000_000.0)
    assert [segments.hands(each) for each in (1e6, 440e6, 3e9)] == [8, 3, 1]


def test_a_container_has_no_more_than_its_groups_allow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The inner group has 1.5 cores and no limit of memory; the one around it has 300 MB left, 100 of them files."""
    inner = tmp_path / "groups/outer/inner"
    inner.mkdir(parents=True)
    (tmp_path / "told").write_text("1:name=systemd:/x\n0::/outer/inner\n")
    for name, inside, outside in (
        ("cpu.max", "150000 100000\n", "max 100000\n"),
        ("memory.max", "max\n", "1000000000\n"),
        ("memory.current", "5\n", "800000000\n"),
        ("memory.stat", "anon 5\n", "anon 700000000\ninactive_file 100000000\nactive_file 7\n"),
    ):
        (inner / name).write_text(inside)
        (inner.parent / name).write_text(outside)
    group, segments = part("_cgroup"), part("_segments")
    place = tmp_path / "groups", tmp_path / "told"
    assert (group.cores(*place), group.free_memory(*place)) == (1.5, 300_000_000)
    assert (group.cores(tmp_path, tmp_path / "told"), group.free_memory(tmp_path, tmp_path / "none")) == (math.inf,) * 2
    monkeypatch.setattr(group, "cores", lambda: 0.5)
    monkeypatch.setattr(group, "free_memory", lambda: 1000.0)
    assert (segments.cores(), segments.free_memory(), segments.hands(1e9)) == (1, 1000, 1)


def test_what_a_worker_takes_depends_on_how_much_the_encoder_keeps() -> None:
    taken = [part("_segmented").bytes_each(preset, 1920 * 1080) for preset in get_args(Preset)]
    assert taken == sorted(taken)
    assert [round(taken[place] / 1e6) for place in (0, 5, 8)] == [184, 402, 682]
