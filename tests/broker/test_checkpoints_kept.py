"""A checkpoint is kept whole, recorded, and under the driver's term, or not at all; and never at the job's cost."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections import namedtuple
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from broker import checkpoints, staging
from broker.broker import Broker
from broker.checkpoints import Checkpoints
from broker.errors import Overtaken
from broker.job import Attempt, State
from broker.ledger import Ledger
from broker.reports import Checkpoint
from executors.base import Lost
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import drive, ledger, notes, only_job, request, right
from tests.executors.test_local import tmpfs

Box = type[FaultyExecutor]
CONTENT = b"a finished piece"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)


class Scene:
    """A running attempt on the target `box`, where item 0 and item 1 have made what `make` makes."""

    def __init__(self, broker: Broker, executor: FaultyExecutor, folder: Path) -> None:
        self.broker, self.executor = broker, executor
        self.job = broker.submit(request(folder, b"one", b"two", on="box")).id
        self.page: Ledger = ledger(broker.journal, self.job)
        self.page.advance(State.RUNNING)
        self.attempt: Attempt = self.page.begin_attempt("box", "a test")
        self.checkpoints = Checkpoints(self.page, self.attempt, executor, 10**6)

    def make(self, name: str = "piece", content: bytes = CONTENT, index: int = 0) -> Checkpoint:
        path = self.executor.root / f"jobs/{self.attempt.remote}/out/{index}/checkpoints/{name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return Checkpoint(index, name, len(content), sha256(content).hexdigest())

    def take(self, made: Checkpoint) -> list[str]:
        return [note.message for note in self.checkpoints.take(made)]

    @property
    def recorded(self) -> list[Checkpoint]:
        return list(self.broker.journal.checkpoints(self.job))

    @property
    def files(self) -> list[str]:
        folder = self.broker.journal.checkpoint_folder / self.job
        found = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        return sorted(set(found) - {"scripts"})


@pytest.fixture
def scene(box: Box, broker: Broker, tmp_path: Path) -> Iterator[Scene]:
    executor = broker.targets["box"].executor()
    assert isinstance(executor, FaultyExecutor)
    with executor:
        yield Scene(broker, executor, tmp_path / "media")


def test_what_was_said_and_is_so_is_kept_and_fetched_once(scene: Scene) -> None:
    made = [scene.make(), scene.make("another", b"", index=1)]
    for piece in (*made, *made):
        assert scene.take(piece) == []
    assert scene.recorded == made
    assert scene.files == ["0/piece", "1/another"]
    assert (scene.broker.journal.checkpoint_folder / scene.job / "0/piece").read_bytes() == CONTENT
    assert [word for name, word, _ in scene.executor.asked if word.endswith("piece")] == [
        f"jobs/{scene.attempt.remote}/out/0/checkpoints/piece"
    ]
    assert stat.S_IMODE(scene.broker.journal.checkpoint_folder.stat().st_mode) == 0o700


def test_one_of_the_same_name_takes_the_others_place(scene: Scene) -> None:
    scene.take(scene.make())
    again = scene.make(content=b"made again, otherwise")
    assert scene.take(again) == []
    assert scene.recorded == [again]
    assert [piece.checkpoint for piece in scene.checkpoints.offer(only_job(scene.broker).items)] == [again]


def test_who_made_a_piece_first_has_made_it(scene: Scene) -> None:
    made = scene.make()
    scene.take(made)
    second = scene.page.begin_attempt("box", "the same again")
    assert list(Checkpoints(scene.page, second, scene.executor, 10**6).take(made)) == []
    assert scene.broker.journal.checkpoints(scene.job) == {made: 1}


# What cannot be kept


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def worn_out(*_: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


TROUBLES: dict[str, Callable[[Scene, pytest.MonkeyPatch], object]] = {
    "is not there": lambda scene, patch: shutil.rmtree(scene.executor.root / "jobs"),
    "another content": lambda scene, patch: scene.executor.faults.append(Fault("get", "checkpoints/")),
    "No space left": lambda scene, patch: patch.setattr(staging, "_write", full),
    "pieces of one job are the most": lambda scene, patch: patch.setattr(checkpoints, "JOB_PIECES", 1),
    "bytes of one job are the most": lambda scene, patch: patch.setattr(scene.checkpoints, "_most", 26),
    "is all but full": lambda scene, patch: patch.setattr(shutil, "disk_usage", _little_left),
}


def _little_left(_: Path) -> object:
    return namedtuple("Usage", "free")(checkpoints.SPARE_BYTES + len(CONTENT) - 1)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_what_cannot_be_kept_is_told_of_once_and_leaves_nothing(
    trouble: str, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, one, two = scene.make("first", b"kept before"), scene.make("one"), scene.make("two")
    assert scene.take(kept) == []
    TROUBLES[trouble](scene, monkeypatch)
    (told,) = scene.take(one)
    assert told.startswith("checkpoint one is not kept: ")
    assert trouble in told
    assert scene.take(two) == []
    assert scene.recorded == [kept]
    assert scene.files == ["0/first"]


def test_a_target_that_boasts_of_a_size_is_not_asked_for_it(scene: Scene) -> None:
    made = scene.make()
    (told,) = scene.take(Checkpoint(0, "piece", 10**30, made.sha256))
    assert "the most" in told
    assert scene.executor.asked == [("enter", "", 0)]


def test_a_target_that_is_gone_is_not_the_checkpoints_affair(scene: Scene) -> None:
    made = scene.make()
    scene.executor.faults.append(Fault("get", "checkpoints/", Lost("box: gone")))
    with pytest.raises(Lost):
        scene.take(made)
    assert (scene.recorded, scene.files) == ([], [])


def test_pieces_of_items_that_are_done_make_room(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "JOB_PIECES", 1)
    assert scene.take(scene.make()) == []
    _publish(scene, 0)
    another = scene.make(index=1)
    assert scene.take(another) == []
    assert another in scene.recorded


def test_a_full_disk_here_costs_no_job(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", _little_left)
    asked = request(tmp_path / "media", b"one", steps=3, seconds=0.0)
    drive(broker, asked)
    assert only_job(broker).state is State.DONE
    assert not broker.journal.checkpoint_folder.exists()


def test_a_disk_that_fills_up_costs_what_does_not_fit_and_no_job(
    box: Box, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SPARE_BYTES", -(10**12))
    asked = request(tmp_path / "media", b"one", steps=10, seconds=0.0, trouble="SIGKILL")
    with tmpfs(tmp_path) as disk:
        monkeypatch.setattr(broker.journal, "checkpoint_folder", disk / "checkpoints")
        (disk / "filler").write_bytes(bytes(os.statvfs(disk).f_bavail * 4096 - 70_000))
        told = notes(drive(broker, asked))
    assert right(asked)
    assert [note for note in told if note.endswith("is not kept: No space left on device")]
    by_first = [by for by in broker.journal.checkpoints(only_job(broker).id).values() if by == 1]
    assert 1 <= len(by_first) < 7
    assert [note for note in told if note.startswith(f"going on from {len(by_first)} finished piece")]


@pytest.mark.parametrize("trouble", ["in the way", "worn out"])
def test_a_folder_that_cannot_be_used_costs_no_job(
    trouble: str, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "in the way":
        broker.journal.checkpoint_folder.write_text("a file")
    else:
        monkeypatch.setattr(checkpoints, "_folders", worn_out)
    drive(broker, request(tmp_path / "media", b"one", b"two", steps=3, seconds=0.0))
    assert only_job(broker).state is State.DONE


# Drivers that were overtaken, or died


def test_an_overtaken_driver_records_and_keeps_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = staging.fetch

    def fetch_and_sleep(*words: object) -> None:
        fetch(*words)  # type: ignore[arg-type]
        ledger(scene.broker.journal, scene.job)

    monkeypatch.setattr(staging, "fetch", fetch_and_sleep)
    with pytest.raises(Overtaken):
        scene.take(scene.make())
    assert (scene.recorded, scene.files) == ([], [])
    with pytest.raises(Overtaken):
        scene.take(scene.make("next"))
    assert (scene.recorded, scene.files) == ([], [])


def test_what_a_crash_left_unrecorded_is_recorded_without_fetching_it_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = scene.make()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ledger, "note_checkpoint", _die)
        scene.take(made)
    assert (scene.recorded, scene.files) == ([], ["0/piece"])
    shutil.rmtree(scene.executor.root / "jobs")
    assert scene.take(made) == []
    assert scene.recorded == [made]


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_what_a_crash_left_of_an_item_that_is_done_is_tidied(scene: Scene) -> None:
    scene.take(scene.make())
    other = scene.make(index=1)
    scene.take(other)
    _publish(scene, 0)
    assert scene.files == ["0/piece", "1/piece"]
    scene.checkpoints.tidy()
    assert scene.files == ["1/piece"]
    assert len(scene.recorded) == 2  # who made what is still told
    _publish(scene, 1)
    scene.checkpoints.tidy()
    assert not (scene.broker.journal.checkpoint_folder / scene.job).exists()


def test_a_part_that_a_crash_left_is_tidied(scene: Scene) -> None:
    scene.take(scene.make())
    part = scene.broker.journal.checkpoint_folder / scene.job / "0/.half.1.part"
    part.write_bytes(b"ha")
    scene.checkpoints.tidy()
    assert scene.files == ["0/piece"]


def _publish(scene: Scene, index: int) -> None:
    for output in only_job(scene.broker).items[index].outputs:
        scene.page.published(index, output.name, output.dest)


def test_what_cannot_be_read_is_as_good_as_damaged(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scene.make()
    scene.take(made)
    monkeypatch.setattr(staging, "file_sha256", worn_out)
    assert scene.checkpoints.offer(only_job(scene.broker).items) == []
    assert scene.recorded == []
