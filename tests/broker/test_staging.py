"""Files travel in parts, only where they lack, and arrive as they left or not at all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from threading import Barrier
from typing import Any

import pytest

from broker import staging
from broker.agent import Agent
from broker.broker import Broker
from broker.errors import InputError, IntegrityError
from broker.job import FileId, Job
from broker.reports import Checkpoint
from broker.scripts import bundle
from broker.staging import Piece, check_unchanged, file_sha256, safe_suffix, stage_in
from broker.stop import Stop
from executors.base import Completed, Executor, Lost, NoSpace, NoSuchFile, Span, TransferFailed
from executors.local import LocalExecutor
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import request
from tests.fakework.fake import SERVICE

Box = type[FaultyExecutor]
PART = 1000
CONTENT = Random(1).randbytes(9 * PART + 17)
PARTS = 10


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PART_BYTES", "FETCH_BYTES"):
        monkeypatch.setattr(staging, name, PART)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)


@pytest.fixture
def there(box: Box, broker: Broker) -> Iterator[FaultyExecutor]:
    """The target `box`, entered, with the runner on it."""
    executor = broker.targets["box"].executor()
    assert isinstance(executor, FaultyExecutor)
    with executor:
        yield executor


def job_of(broker: Broker, folder: Path, *contents: bytes) -> Job:
    return broker.submit(request(folder, *contents))


def send(executor: Executor, job: Job, pieces: Sequence[Piece] = ()) -> list[dict[str, object]]:
    agent = Agent(executor, bundle(job.script))
    agent.install()
    return stage_in(executor, agent, job.items, Stop(), pieces)


def sent(executor: FaultyExecutor) -> list[int]:
    """Numbers of the parts that were sent, since last asked."""
    numbers = [int(word.rpartition("/")[2]) for name, word, _ in executor.asked if word.startswith("parts/")]
    executor.asked.clear()
    return sorted(numbers)


def blob(executor: FaultyExecutor, job: Job, index: int = 0) -> bytes:
    return (executor.root / "blobs" / job.items[index].sha256).read_bytes()


# Up


def test_an_input_arrives_whole_and_the_second_time_nothing_is_sent(
    there: FaultyExecutor, broker: Broker, tmp_path: Path
) -> None:
    job = job_of(broker, tmp_path / "media", CONTENT)
    told = send(there, job)
    assert told == [{"index": 0, "suffix": ".dat", "blob": job.items[0].sha256}]
    assert blob(there, job) == CONTENT
    assert sent(there) == list(range(PARTS))

    send(there, job_of(broker, tmp_path / "again", CONTENT))
    assert sum(size for name, _, size in there.asked if name == "put") == 0


def test_an_interrupted_upload_goes_on_where_it_was(there: FaultyExecutor, broker: Broker, tmp_path: Path) -> None:
    there.faults.append(Fault("put", "parts/", Lost("gone"), skip=4, times=100))
    job = job_of(broker, tmp_path / "media", CONTENT)
    with pytest.raises(Lost):
        send(there, job)
    arrived = sorted(int(path.name) for path in (there.root / "parts" / job.items[0].sha256).iterdir())
    assert len(arrived) == 4
    there.faults.clear()
    sent(there)

    send(there, job)
    assert sent(there) == sorted(set(range(PARTS)) - set(arrived))
    assert blob(there, job) == CONTENT


@pytest.mark.parametrize("number", [0, 4, PARTS - 1])
def test_a_flipped_bit_in_a_part_is_caught_and_sent_again(
    number: int, there: FaultyExecutor, broker: Broker, tmp_path: Path
) -> None:
    job = job_of(broker, tmp_path / "media", CONTENT)
    there.faults.append(Fault("put", f"{job.items[0].sha256}/{number}", times=1))
    send(there, job)
    assert blob(there, job) == CONTENT
    assert sent(there) == sorted([*range(PARTS), *range(PARTS)])


@pytest.mark.parametrize("left", [b"x" * PART, b"too short", b""])
def test_a_damaged_part_from_an_earlier_time_does_no_harm(
    left: bytes, there: FaultyExecutor, broker: Broker, tmp_path: Path
) -> None:
    job = job_of(broker, tmp_path / "media", CONTENT)
    folder = there.root / "parts" / job.items[0].sha256
    folder.mkdir(parents=True)
    (folder / "3").write_bytes(left)
    send(there, job)
    assert blob(there, job) == CONTENT


def test_a_machine_that_damages_everything_is_given_up(there: FaultyExecutor, broker: Broker, tmp_path: Path) -> None:
    there.faults.append(Fault("put", "parts/"))
    job = job_of(broker, tmp_path / "media", CONTENT)
    with pytest.raises(IntegrityError):
        send(there, job)
    assert len(sent(there)) == PARTS * staging.ASSEMBLE_TRIES
    assert not (there.root / "blobs" / job.items[0].sha256).exists()


def test_a_part_that_does_not_arrive_is_tried_again_a_few_times(
    there: FaultyExecutor, broker: Broker, tmp_path: Path
) -> None:
    job = job_of(broker, tmp_path / "media", CONTENT)
    there.faults.append(Fault("put", f"{job.items[0].sha256}/3", TransferFailed("reset"), times=3))
    send(there, job)
    assert blob(there, job) == CONTENT
    assert sent(there).count(3) == 4
    there.faults[:] = [Fault("put", "parts/", NoSpace("full"))]
    with pytest.raises(NoSpace):
        send(there, job_of(broker, tmp_path / "other", b"x"))
    assert sent(there) == [0]


def test_one_content_is_sent_once_and_nothing_takes_no_part(
    there: FaultyExecutor, broker: Broker, tmp_path: Path
) -> None:
    job = job_of(broker, tmp_path / "media", CONTENT, CONTENT, b"")
    assert [entry["index"] for entry in send(there, job)] == [0, 1, 2]
    assert sent(there) == list(range(PARTS))
    assert blob(there, job, 2) == b""


def test_an_input_that_changed_is_refused(there: FaultyExecutor, broker: Broker, tmp_path: Path) -> None:
    job = job_of(broker, tmp_path / "media", CONTENT)
    job.items[0].source.write_bytes(b"another")
    with pytest.raises(InputError, match="changed while the job was under way"):
        send(there, job)
    assert sent(there) == []
    job.items[0].source.unlink()
    with pytest.raises(InputError, match="cannot be read any more"):
        send(there, job)


def test_an_input_that_changed_and_was_given_its_time_back_is_refused(broker: Broker, tmp_path: Path) -> None:
    (item,) = job_of(broker, tmp_path / "media", b"one").items
    item.source.write_bytes(b"two")
    os.utime(item.source, ns=(0, item.file_id.mtime_ns))
    with pytest.raises(InputError, match="changed while the job was under way"):
        check_unchanged(item)


def test_an_input_that_got_another_link_mode_or_name_is_what_it_was(broker: Broker, tmp_path: Path) -> None:
    (item,) = job_of(broker, tmp_path / "media", b"one").items
    os.link(item.source, tmp_path / "link")
    item.source.chmod(0o444)
    item.source.rename(tmp_path / "other")
    (tmp_path / "other").rename(item.source)
    assert FileId.of(item.source) != item.file_id
    check_unchanged(item)


def test_an_input_that_changes_on_its_way_is_refused(
    there: FaultyExecutor, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(broker, tmp_path / "media", CONTENT)
    put = FaultyExecutor.put

    def put_and_change(self: FaultyExecutor, source: Path, span: Span, path: str) -> None:
        put(self, source, span, path)
        if path.startswith("parts/"):
            job.items[0].source.write_bytes(bytes(len(CONTENT)))

    monkeypatch.setattr(FaultyExecutor, "put", put_and_change)
    with pytest.raises(InputError, match="changed"):
        send(there, job)
    assert not (there.root / "blobs" / job.items[0].sha256).exists()


def pieces_of(folder: Path, *contents: bytes, index: int = 0) -> list[Piece]:
    """Checkpoints of an item that lie here."""
    found = []
    for number, content in enumerate(contents):
        path = folder / f"piece-{number}"
        path.write_bytes(content)
        made = Checkpoint(index, path.name, len(content), file_sha256(path))
        found.append(Piece(made, path, FileId.of(path)))
    return found


def test_pieces_to_go_on_from_are_sent_like_inputs(there: FaultyExecutor, broker: Broker, tmp_path: Path) -> None:
    job = job_of(broker, tmp_path / "media", b"one", b"two")
    pieces = pieces_of(tmp_path, CONTENT, b"", index=1)
    for parts in ([0, *range(PARTS), 0], []):
        first, second = send(there, job, pieces)
        assert "checkpoints" not in first
        assert second["checkpoints"] == [
            {"name": piece.checkpoint.name, "blob": piece.checkpoint.sha256} for piece in pieces
        ]
        assert sent(there) == sorted(parts)
    assert (there.root / "blobs" / pieces[0].checkpoint.sha256).read_bytes() == CONTENT


def test_a_target_is_asked_for_no_more_than_a_reply_can_tell(
    there: FaultyExecutor, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ASKED", 3)
    job = job_of(broker, tmp_path / "media", *(bytes([number]) for number in range(7)))
    send(there, job)
    assert [word for _, word, _ in there.asked].count("parts") == 3
    assert [blob(there, job, index) for index in range(7)] == [bytes([number]) for number in range(7)]


def test_small_files_go_several_at_a_time(
    there: FaultyExecutor, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, together = FaultyExecutor.run, Barrier(there.streams)

    def wait_for_company(self: FaultyExecutor, argv: Sequence[str], *words: Any) -> Completed:
        if argv[-1] == "assemble":
            together.wait(120)
        return run(self, argv, *words)

    monkeypatch.setattr(FaultyExecutor, "run", wait_for_company)
    job = job_of(broker, tmp_path / "media", *(bytes([number]) for number in range(2 * there.streams)))
    send(there, job)
    assert [blob(there, job, number) for number in range(8)] == [bytes([number]) for number in range(8)]


def test_a_reply_on_as_many_blobs_as_are_asked_for_is_short_enough(there: FaultyExecutor, broker: Broker) -> None:
    agent = Agent(there, bundle(Path(str(SERVICE.script))))
    agent.install()
    names = [f"{number:064x}" for number in range(staging.ASKED)]
    for number in range(2000):
        path = there.root / "parts" / names[number % 2] / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345678")
    assert list(agent.parts(names)) == names


def test_a_machine_that_shares_files_is_sent_nothing(broker: Broker, tmp_path: Path) -> None:
    job = job_of(broker, tmp_path / "media", CONTENT)
    with broker.targets["local"].executor() as here:
        (piece,) = pieces_of(tmp_path, b"a piece")
        (told,) = send(here, job, [piece])
        assert told["path"] == str(job.items[0].source)
        mark = {"size": 7, "mtime_ns": piece.path.stat().st_mtime_ns}
        assert told["checkpoints"] == [{"name": "piece-0", "path": str(piece.path), **mark}]
        assert not list(Path(here.options["root"]).rglob("parts/*"))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("clip.mp4", ".mp4"),
        ("CLIP.MP4", ".mp4"),
        ("clip.tar.gz", ".gz"),
        ("clip", ""),
        (".mp4", ""),
        ("clip.", ""),
        ("clip.mp4 ", ""),
        ("clip.m p4", ""),
        ("clip.$(id)", ""),
        ("clip.;rm", ""),
        ("clip.\n", ""),
        ("clip.mp4\n", ""),
        ("clip.mp٤", ""),
        ("clip.ſ", ""),
        ("clip.ﬃ", ""),
        ("clip.-o", ""),
        ("clip.%n", ""),
        ("clip.'", ""),
        ("clip.averylongone", ""),
        (os.fsdecode(b"clip.\xff"), ""),
    ],
)
def test_of_a_name_only_a_plain_suffix_reaches_a_target(name: str, suffix: str) -> None:
    assert safe_suffix(Path("/media") / name) == suffix


# Down


@pytest.fixture
def result(there: FaultyExecutor) -> str:
    (there.root / "jobs/j/out").mkdir(parents=True)
    (there.root / "jobs/j/out/worked.bin").write_bytes(CONTENT)
    (there.root / "jobs/j/out/worked.bin").chmod(0o600)
    return "jobs/j/out/worked.bin"


@pytest.fixture
def sha256(there: FaultyExecutor, result: str) -> str:
    return file_sha256(there.root / result)


def sharing(there: FaultyExecutor) -> LocalExecutor:
    return LocalExecutor("here", {"root": str(there.root)})


def test_a_hundred_flipped_bits_are_a_hundred_caught(
    there: FaultyExecutor, result: str, sha256: str, tmp_path: Path
) -> None:
    part, caught = tmp_path / "part", 0
    for number in range(100):
        there.faults[:] = [Fault("get", "out/", skip=number % PARTS, times=1)]
        staging.fetch(there, result, len(CONTENT), sha256, part)
        caught += len([word for name, word, _ in there.asked if name == "get"]) == 2 * PARTS
        there.asked.clear()
        assert part.read_bytes() == CONTENT
    assert caught == 100


@pytest.mark.parametrize("wrong", ["shorter", "other"])
def test_what_is_not_what_it_was_said_to_be_does_not_arrive(
    wrong: str, there: FaultyExecutor, result: str, sha256: str, tmp_path: Path
) -> None:
    data = {"shorter": CONTENT[:-1], "other": bytes(len(CONTENT))}[wrong]
    (there.root / result).write_bytes(data)
    for executor in (there, sharing(there)):
        with pytest.raises(IntegrityError, match="another content"):
            staging.fetch(executor, result, len(CONTENT), sha256, tmp_path / "part")
        assert not (tmp_path / "part").exists()


def test_a_boastful_size_is_not_asked_for_to_the_end(
    there: FaultyExecutor, result: str, sha256: str, tmp_path: Path
) -> None:
    asks = staging.FETCH_TRIES * (PARTS + there.streams)
    there.faults.append(Fault("get", "out/", AssertionError("still asking"), skip=asks))
    with pytest.raises(IntegrityError):
        staging.fetch(there, result, 10**15, sha256, tmp_path / "part")


def test_a_result_that_is_not_there_is_the_machines_failure(there: FaultyExecutor, tmp_path: Path) -> None:
    for executor in (there, sharing(there)):
        with pytest.raises(NoSuchFile, match="is not there"):
            staging.fetch(executor, "jobs/j/none", 1, "a" * 64, tmp_path / "part")
    with pytest.raises(FileNotFoundError):
        staging.fetch(there, "jobs/j/none", 1, "a" * 64, tmp_path / "no-folder" / "part")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_fetched_file_has_the_mode_of_any_new_file(
    umask: int, there: FaultyExecutor, result: str, sha256: str, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        for number, executor in enumerate((there, sharing(there))):
            part = tmp_path / f"part{number}"
            staging.fetch(executor, result, len(CONTENT), sha256, part)
            assert stat.S_IMODE(part.stat().st_mode) == 0o666 & ~umask
        assert os.umask(umask) == umask
    finally:
        os.umask(before)


def test_a_machine_that_shares_files_has_its_result_linked(
    there: FaultyExecutor, result: str, sha256: str, tmp_path: Path
) -> None:
    staging.fetch(sharing(there), result, len(CONTENT), sha256, tmp_path / "part")
    assert (tmp_path / "part").samefile(there.root / result)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP])
def test_where_nothing_can_be_linked_it_is_copied(
    number: int, there: FaultyExecutor, result: str, sha256: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.link", refuse)
    staging.fetch(sharing(there), result, len(CONTENT), sha256, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert not (tmp_path / "part").samefile(there.root / result)


@pytest.mark.parametrize("kind", ["symlink", "hard link"])
def test_a_result_that_is_another_file_too_is_copied_and_that_file_left_alone(
    kind: str, there: FaultyExecutor, result: str, sha256: str, tmp_path: Path
) -> None:
    original = tmp_path / "original"
    (there.root / result).rename(original)
    original.chmod(0o400)
    (there.root / result).symlink_to(original) if kind == "symlink" else (there.root / result).hardlink_to(original)
    staging.fetch(sharing(there), result, len(CONTENT), sha256, tmp_path / "part")
    assert not (tmp_path / "part").is_symlink()
    assert not (tmp_path / "part").samefile(original)
    assert stat.S_IMODE(original.stat().st_mode) == 0o400
