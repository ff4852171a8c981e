"""The same request again is answered from what was made before, bit for bit; what is kept is never trusted."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker import result_rows, results
from broker.broker import Broker
from broker.events import Note, Progress, Published, Started
from broker.job import State
from broker.stop import Stop
from tests import fakework
from tests.broker.again import attempts, elsewhere, files, kept, made, reopened, runs, unique
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import drive, notes, request
from tests.broker.test_attempt import Killed

Box = type[FaultyExecutor]
MOST = 10**8


@pytest.fixture(autouse=True)
def _on(offload_dirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OFFLOAD_RESULT_BYTES", str(MOST))


# Had again


def test_the_same_again_is_not_made_again(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    second = elsewhere(first, tmp_path / "other")
    told = drive(broker, second)
    assert made(second) == made(first)
    assert runs(broker) == 1
    assert not [event for event in told if isinstance(event, Started | Progress)]
    [published] = [event for event in told if isinstance(event, Published)]
    assert (published.index, published.measured) == (0, {"made": 1})
    assert {path.name for path in (tmp_path / "other").iterdir()} == {"0.worked.bin"}


def test_it_is_said_and_stands_in_the_receipt(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one", told={"tool": "7"})
    drive(broker, first)
    maker = broker.journal.jobs()[0].id
    told = drive(broker, elsewhere(first, tmp_path / "other"))
    [said] = notes(told)
    assert re.fullmatch(
        rf"the same was made before \(job {maker} on local, \d+ s ago\); --no-cache makes it anew", said
    )
    receipt = broker.receipt(broker.journal.jobs()[0].id)
    [attempt] = receipt["attempts"]
    assert receipt["state"] == "done"
    assert (attempt["target"], attempt["state"], attempt["versions"]) == ("cache", "done", {"tool": "7"})
    assert attempt["reason"].startswith(f"the same was made before: job {maker} on local, 20")
    assert receipt["items"][0]["outputs"][0]["attempt"] == attempt["number"]
    assert receipt["items"][0]["measured"] == {"made": 1}


def test_nobody_is_asked_for_it(box: Box, broker: Broker, tmp_path: Path) -> None:
    with reopened() as again:
        first = unique(tmp_path / "media", b"one", on="box")
        drive(again, first)
        again.journal._db.execute("DELETE FROM health")
        box.asked.clear()
        box.faults.append(Fault("probe", error=AssertionError("it was asked")))
        drive(again, elsewhere(first, tmp_path / "other", on="auto"))
        drive(again, elsewhere(first, tmp_path / "third", on="box"))
        assert runs(again) == 1
    assert box.asked == []
    assert [fault.times for fault in box.faults] == [1_000_000]


def test_of_a_batch_only_the_rest_is_made(broker: Broker, tmp_path: Path) -> None:
    drive(broker, unique(tmp_path / "media", b"one"))
    batch = unique(tmp_path / "media", b"one", b"two", b"three")
    second = elsewhere(batch, tmp_path / "other")
    told = drive(broker, second)
    assert [(each.target, each.state) for each in attempts(broker, second)] == [("cache", "done"), ("local", "done")]
    assert sorted(event.index for event in told if isinstance(event, Published)) == [0, 1, 2]
    by = [item["outputs"][0]["attempt"] for item in broker.receipt(broker.journal.jobs()[0].id)["items"]]
    assert by == [1, 2, 2]
    drive(broker, third := elsewhere(batch, tmp_path / "third"))
    assert made(third) == made(second)
    assert [each.target for each in attempts(broker, third)] == ["cache", "cache"]  # of two jobs


def test_all_outputs_are_had_or_none(broker: Broker, tmp_path: Path) -> None:
    drive(broker, request(tmp_path / "media", b"one"))
    both = elsewhere(request(tmp_path / "media", b"one", digest=True), tmp_path / "other")
    drive(broker, both)
    assert runs(broker) == 2
    drive(broker, again := elsewhere(both, tmp_path / "third"))
    assert runs(broker) == 2
    assert made(again) == [fakework.expected(b"one"), fakework.digest(b"one")]


def test_another_of_the_same_content_has_it_too(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    shutil.copytree(tmp_path / "media", tmp_path / "copy", ignore=shutil.ignore_patterns("*.bin"))
    inputs = tuple(replace(entry, source=tmp_path / "copy" / "0.dat") for entry in first.inputs)
    drive(broker, second := elsewhere(replace(first, inputs=inputs), tmp_path / "other"))
    assert made(second) == made(first)
    assert runs(broker) == 1


def test_one_that_changed_meanwhile_is_not(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    job = broker.submit(elsewhere(first, tmp_path / "other"))
    first.inputs[0].source.write_bytes(b"another")
    drive(broker, job)
    assert broker.journal.job(job.id).items[0].kind == "bad_input"
    assert not list((tmp_path / "other").iterdir())


def test_a_destination_that_somebody_took_is_left_alone(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    second = elsewhere(first, tmp_path / "other")
    job = broker.submit(second)
    (tmp_path / "other/0.worked.bin").write_bytes(b"theirs")
    told = drive(broker, job)
    assert made(second) == [b"theirs"]
    assert (tmp_path / f"other/0.worked.{job.id}.bin").read_bytes() == made(first)[0]
    assert "was left alone" in notes(told)[-1]


def test_it_outlives_the_job_that_made_it(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    broker.remove(broker.journal.jobs()[0])
    drive(broker, second := elsewhere(first, tmp_path / "other"))
    assert made(second) == made(first)
    assert runs(broker) == 0


def test_a_job_that_is_tried_again_has_it_too(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    second = elsewhere(first, tmp_path / "other")
    job = broker.submit(second)
    broker.cancel(job)
    drive(broker, first)
    broker.reopen(job)
    drive(broker, job)
    assert made(second) == made(first)
    assert broker.journal.job(job.id).state is State.DONE


def test_there_is_no_log_to_be_asked_for(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    drive(broker, elsewhere(first, tmp_path / "other"))
    assert [text for _, text in broker.logs(broker.journal.jobs()[0])] == [""]


def test_one_of_a_lost_journal_is_looked_for_first(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    job = broker.submit(elsewhere(first, tmp_path / "other"))
    broker.journal._db.execute("UPDATE jobs SET state = 'running' WHERE id = ?", (job.id,))  # as it is restored
    drive(broker, job)
    assert [attempt.target for attempt in broker.journal.attempts(job.id)] == ["local"]


# Not had


def test_what_is_to_be_made_anew_is_and_is_kept_in_its_place(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    drive(broker, second := elsewhere(first, tmp_path / "other", cache=False))
    assert made(second) != made(first)
    drive(broker, third := elsewhere(first, tmp_path / "third"))
    assert made(third) == made(second)
    assert len(files(broker)) == 1


def test_what_is_to_leave_its_folder_is_made_anew(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    drive(broker, elsewhere(first, tmp_path / "other", keep=True))
    assert runs(broker) == 2


def test_nothing_is_kept_where_nothing_may_be(tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    with reopened(result_bytes=0) as broker:
        drive(broker, first)
        assert files(broker) == []
        drive(broker, elsewhere(first, tmp_path / "other"))
        assert runs(broker) == 2


def test_what_is_for_nobody_else_is_not_kept(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one", keeps_results=False)
    drive(broker, first)
    assert files(broker) == []
    drive(broker, elsewhere(first, tmp_path / "other", keeps_results=True))
    assert runs(broker) == 2


def test_what_the_users_own_ffmpeg_makes_is_neither_kept_nor_had(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = unique(tmp_path / "media", b"one")
    with monkeypatch.context() as own:
        own.setenv("IMAGEIO_FFMPEG_EXE", "/usr/bin/ffmpeg")
        drive(broker, first)
        assert files(broker) == []
    drive(broker, elsewhere(first, tmp_path / "other"))
    assert runs(broker) == 2
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/usr/bin/ffmpeg")
    drive(broker, elsewhere(first, tmp_path / "third"))
    assert runs(broker) == 3


def test_what_failed_is_not_kept(broker: Broker, tmp_path: Path) -> None:
    first = request(tmp_path / "media", b"!failed")
    drive(broker, first)
    drive(broker, elsewhere(first, tmp_path / "other"))
    assert runs(broker) == 2


# Close, and no closer


@pytest.mark.parametrize(
    ("before", "runs_in_all"),
    [({"device": "cpu"}, 1), ({"device": "cpu", "torch": "9.9"}, 2), ({}, 2)],
    ids=["the same", "another version is installed now", "of a device that is not known"],
)
def test_what_is_close_is_had_from_the_same_kind_of_machine(
    before: dict[str, str], runs_in_all: int, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "10.0")
    first = unique(tmp_path / "media", b"one", told=before, contract="close")
    drive(broker, first)
    drive(broker, elsewhere(first, tmp_path / "other"))
    assert runs(broker) == runs_in_all


def test_what_another_kind_of_machine_made_is_had_where_that_may_be_asked(
    box: Box, broker: Broker, tmp_path: Path
) -> None:
    with reopened() as again:
        first = unique(tmp_path / "media", b"one", told={"device": "cuda"}, contract="close", on="box")
        drive(again, first)
        drive(again, elsewhere(first, tmp_path / "here", on="local"))
        assert runs(again) == 2
        drive(again, elsewhere(first, tmp_path / "anywhere", on="auto"))
        drive(again, elsewhere(first, tmp_path / "no other", on="auto", fallback=False))
        assert runs(again) == 2


def test_a_machine_that_became_another_has_none(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one", told={"device": "cpu"}, contract="close")
    drive(broker, first)
    drive(broker, unique(tmp_path / "later", b"two", told={"device": "cuda"}, contract="close"))
    drive(broker, elsewhere(first, tmp_path / "other"))
    assert runs(broker) == 3


def test_what_was_made_with_less_memory_is_not_kept(broker: Broker, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    weights.write_bytes(b"weights")
    own = {"contract": "close", "models": {"model": f"path:{weights}"}}
    first = unique(tmp_path / "media", b"one", told={"device": "cpu"}, ease=1, **own)
    drive(broker, first)
    [starved, eased] = attempts(broker, first)
    assert (starved.state, eased.state, eased.versions["ease"]) == ("lost", "done", 1)
    assert files(broker) == []
    plain = unique(tmp_path / "media", b"one", told={"device": "cpu"}, **own)
    drive(broker, plain)
    assert len(files(broker)) == 1
    weights.write_bytes(b"others!")
    drive(broker, elsewhere(plain, tmp_path / "other"))
    assert [each.target for each in attempts(broker, elsewhere(plain, tmp_path / "other"))] == ["local"]


@pytest.mark.parametrize(("second", "count"), [("cuda", 1), ("cpu", 0)])
def test_what_two_kinds_of_machine_made_together_is_not_kept(
    second: str, count: int, broker: Broker, tmp_path: Path
) -> None:
    from broker.keeping import Keeping
    from broker.reports import Checkpoint
    from tests.broker.jobs import ledger

    asked = unique(tmp_path / "media", b"one", told={"device": "cuda"}, contract="close")
    page = ledger(broker.journal, broker.submit(asked).id)
    page.advance(State.RUNNING)
    for device in ("cuda", second):
        attempt = page.begin_attempt("box", "a test")
        page.note_versions(attempt, {"device": device})
        if device == "cuda":
            page.note_checkpoint(attempt, Checkpoint(0, "half", 1, "0" * 64))
    dest = asked.inputs[0].outputs["worked.bin"]
    dest.write_bytes(b"x")
    page.intend(attempt, 0, {"worked.bin": (1, "0" * 64)}, {})
    page.published(0, "worked.bin", dest)
    assert list(Keeping(page, attempt, broker.settings).keep(0)) == []
    assert len(kept(broker).rows.all()) == count


# Apart from what is the user's


def test_what_is_kept_is_nobody_elses_file(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    drive(broker, second := elsewhere(first, tmp_path / "other"))
    [file] = files(broker)
    outputs = [dest for asked in (first, second) for dest in asked.inputs[0].outputs.values()]
    assert len({path.stat().st_ino for path in (file, *outputs)}) == 3
    assert [path.stat().st_nlink for path in (file, *outputs)] == [1, 1, 1]
    assert file.stat().st_mode & 0o777 == 0o400
    assert file.parent.stat().st_mode & 0o777 == 0o700
    umask = os.umask(0)
    os.umask(umask)
    assert outputs[1].stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_the_user_does_to_an_output_stays_there(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    [before], dest = made(first), first.inputs[0].outputs["worked.bin"]
    with dest.open("r+b") as file:  # in place
        file.write(b"edited")
    drive(broker, second := elsewhere(first, tmp_path / "other"))
    dest.unlink()
    second.inputs[0].outputs["worked.bin"].write_bytes(b"mine")
    drive(broker, third := elsewhere(first, tmp_path / "third"))
    assert made(third) == [before]
    assert runs(broker) == 1


# Damage


def flip(path: Path) -> None:
    path.chmod(0o600)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def unreadable(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink, unreadable])
def test_what_is_damaged_is_made_anew(damage: Callable[[Path], object], broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    [file] = files(broker)
    damage(file)
    told = drive(broker, second := elsewhere(first, tmp_path / "other"))
    assert made(second) != made(first)
    assert any(note.startswith("what was made before is lost: ") for note in notes(told))
    assert [(each.target, each.state) for each in attempts(broker, second)] == [("cache", "lost"), ("local", "done")]
    if damage is not unreadable:
        drive(broker, third := elsewhere(first, tmp_path / "third"))
        assert made(third) == made(second)


def test_of_two_outputs_one_damaged_costs_both(broker: Broker, tmp_path: Path) -> None:
    first = request(tmp_path / "media", b"one", digest=True)
    drive(broker, first)
    flip(min(files(broker), key=lambda path: path.stat().st_size))
    drive(broker, second := elsewhere(first, tmp_path / "other"))
    assert made(second) == [fakework.expected(b"one"), fakework.digest(b"one")]
    assert runs(broker) == 2


def test_the_folder_may_be_deleted(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    shutil.rmtree(broker.settings.cache_dir / "results")
    drive(broker, second := elsewhere(first, tmp_path / "other"))
    assert made(second) != made(first)
    assert len(files(broker)) == 1


# What cannot be kept costs nothing


def test_a_full_disk_is_told_of_once_and_costs_nothing(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(results, "copy", full)
    told = drive(broker, asked := request(tmp_path / "media", b"one", b"two"))
    assert made(asked) == [fakework.expected(b"one"), fakework.expected(b"two")]
    assert notes(told) == ["the result is not kept for another time: No space left on device"]
    assert files(broker) == []
    assert broker.journal.jobs()[0].state is State.DONE


def test_a_disk_that_is_all_but_full_is_left_alone(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "SPARE_BYTES", 2**62)
    told = drive(broker, request(tmp_path / "media", b"one"))
    assert "is all but full" in notes(told)[0]
    assert files(broker) == []


def test_one_without_room_for_its_output_stays_open(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    second = elsewhere(first, tmp_path / "other")
    copy = results.copy

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(results, "copy", full)
    with pytest.raises(Exception, match=r"cannot be stored in .*other: No space left"):
        drive(broker, second)
    assert not broker.journal.jobs()[0].state.over
    assert not list((tmp_path / "other").iterdir())
    monkeypatch.setattr(results, "copy", copy)
    drive(broker, second)
    assert made(second) == made(first)


# The bound


def test_the_one_used_last_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.result_rows.USED_SECONDS", 0.0)
    with reopened(result_bytes=2500) as broker:
        asked = [request(tmp_path / f"media{n}", b"%d" % n, size=1000) for n in range(3)]
        drive(broker, asked[0])
        drive(broker, asked[1])
        drive(broker, elsewhere(asked[0], tmp_path / "other"))  # used, and so younger
        drive(broker, asked[2])
        assert kept(broker).rows.bytes() == sum(path.stat().st_size for path in files(broker)) == 2000
        before = runs(broker)
        for number in (0, 2):
            drive(broker, elsewhere(asked[number], tmp_path / f"again{number}"))
        assert runs(broker) == before == 3
        drive(broker, elsewhere(asked[1], tmp_path / "again1"))
        assert runs(broker) == 4


def test_a_clock_set_back_makes_nothing_that_is_used_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=2000.0)
    clock.time = lambda: clock.now
    monkeypatch.setattr(result_rows, "time", clock)
    with reopened(result_bytes=2500) as broker:
        asked = [request(tmp_path / f"media{n}", b"%d" % n, size=1000) for n in range(3)]
        drive(broker, asked[0])
        clock.now = 9000.0
        drive(broker, asked[1])
        clock.now = 100.0
        drive(broker, asked[2])  # the first makes way for it
        drive(broker, elsewhere(asked[1], tmp_path / "again1"))
        drive(broker, elsewhere(asked[2], tmp_path / "again2"))
        assert runs(broker) == 3
        assert {one.used for one in kept(broker).rows.all()} == {9000.0}


def test_one_larger_than_all_is_not_kept(tmp_path: Path) -> None:
    with reopened(result_bytes=100) as broker:
        told = drive(broker, request(tmp_path / "media", b"one", size=101))
        assert "larger than all that may be kept" in notes(told)[0]
        assert files(broker) == []


def test_a_file_that_two_need_counts_once_and_stays_for_the_other(broker: Broker, tmp_path: Path) -> None:
    for number, seconds in enumerate((0.0, 0.01)):  # two keys, one content
        drive(broker, request(tmp_path / f"media{number}", b"one", size=1000, seconds=seconds))
    assert len(kept(broker).rows.all()) == 2
    assert kept(broker).rows.bytes() == 1000
    kept(broker).drop(kept(broker).rows.all()[1])
    assert len(files(broker)) == 1
    kept(broker).drop(kept(broker).rows.all()[0])
    assert files(broker) == []


def test_tidying_up_drops_what_belongs_to_nothing(broker: Broker, tmp_path: Path) -> None:
    drive(broker, request(tmp_path / "media", b"one", b"two", size=1000))
    folder = broker.settings.cache_dir / "results"
    (folder / ".abc.part").write_bytes(b"left by one that was killed")
    files(broker)[-1].unlink()
    assert kept(broker).sweep(MOST, pretend=True) == results.Freed(0, 0)  # there was nothing to delete
    assert len(kept(broker).rows.all()) == 2
    assert kept(broker).sweep(MOST) == results.Freed(0, 0)
    assert len(kept(broker).rows.all()) == 1
    assert len(files(broker)) == 2  # somebody may be at the draft
    results_stray, results.STRAY_SECONDS = results.STRAY_SECONDS, -1.0
    try:
        kept(broker).sweep(MOST)
    finally:
        results.STRAY_SECONDS = results_stray
    assert len(files(broker)) == len(kept(broker).rows.all()) == 1


def test_it_is_swept_once_a_day(broker: Broker, tmp_path: Path) -> None:
    drive(broker, request(tmp_path / "media", b"one", size=1000))
    [file] = files(broker)
    file.unlink()
    mark = broker.settings.state_dir / "tidied" / "local"
    os.utime(mark, (0, 0))
    drive(broker, request(tmp_path / "more", b"two", size=1000))
    assert len(kept(broker).rows.all()) == 1


# Whatever happens in between


def test_one_that_dies_at_it_is_taken_up(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = unique(tmp_path / "media", b"one", b"two")
    drive(broker, first)
    second = elsewhere(first, tmp_path / "other")
    job, place = broker.submit(second), results.Results.bring
    brought = []

    def dies(self: results.Results, output: object, part: Path) -> None:
        brought.append(part)
        if len(brought) == 2:
            raise Killed
        place(self, output, part)  # type: ignore[arg-type]

    monkeypatch.setattr(results.Results, "bring", dies)
    with pytest.raises(Killed):
        drive(broker, job)
    assert not broker.journal.job(job.id).state.over
    drive(broker, job)
    assert made(second) == made(first)
    assert runs(broker) == 1
    assert {path.name for path in (tmp_path / "other").iterdir()} == {"0.worked.bin", "1.worked.bin"}


def test_one_stopped_before_it_is_cancelled(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    stop = Stop()
    stop.request()
    with pytest.raises(Exception, match="stopped"):
        drive(broker, elsewhere(first, tmp_path / "other"), stop)
    assert broker.journal.jobs()[0].state is State.CANCELLED


def test_notes_are_events(broker: Broker, tmp_path: Path) -> None:
    first = unique(tmp_path / "media", b"one")
    drive(broker, first)
    told = drive(broker, elsewhere(first, tmp_path / "other"))
    assert [type(event) for event in told] == [Note, Published]
