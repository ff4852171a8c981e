"""Fail the Nth word with a real SSH server: the end is before or after, and the same request then ends well."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import settings
from broker.broker import Broker
from broker.errors import OffloadError
from broker.job import Request, State
from broker.stop import Stop
from executors.base import ExecutorError
from tests import fakework
from tests.broker.jobs import request, right
from tests.executors.sshd import needs_sshd, sshd
from tests.sweep.seams import Seams

pytestmark = needs_sshd

ERRORS = (errno.ECONNRESET, errno.ETIMEDOUT)
WORDS = ("connect", "send", "receive")


@pytest.fixture
def box(offload_dirs: Path, tmp_path: Path) -> Iterator[None]:
    """The target `box`: a machine behind a real sshd."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with sshd(tmp_path, PATH=path) as server:
        lines = [f"{key} = {json.dumps(value)}" for key, value in server.options().items()]
        (offload_dirs / "config" / "targets.toml").write_text("\n".join(["[box]", *lines]))
        yield


def attempt(asked: Request, seams: Seams) -> Exception | None:
    """Ask once, as a command does; returns the error it ends with."""
    try:
        with Broker(settings.load()) as broker:
            broker.journal._db.execute("DELETE FROM health")
            job = broker.submit(asked)
            with seams:
                for _ in broker.drive(job, Stop()):
                    pass
    except (OffloadError, ExecutorError) as error:
        return error
    return None


def one(folder: Path, nth: int) -> str:
    """A job whose Nth word with the network fails, and the same request afterwards; returns which it was."""
    folder.mkdir()
    data = b"input %d" % nth  # one that is not there yet
    asked = request(folder / "media", data, on="box", seconds=0)
    seams = Seams(nth, ERRORS[nth % 2], lambda what, on: what in WORDS)
    ended = attempt(asked, seams)
    dest = asked.inputs[0].outputs["worked.bin"]
    assert not dest.exists() or dest.read_bytes() == fakework.expected(data), f"seam {nth}: half-way"
    assert asked.inputs[0].source.read_bytes() == data
    again = attempt(asked, Seams(0, 0)) if ended else None
    assert again is None, f"seam {nth}, {seams.met}: it ended with {ended!r}, and again with {again!r}"
    assert right(asked)
    with Broker(settings.load()) as broker:
        assert broker.journal.jobs(1)[0].state is State.DONE
    return seams.met[0] if seams.met else ""


def words(folder: Path) -> int:
    """How many words a job takes that nothing disturbs."""
    seams = Seams(0, 0, lambda what, on: what in WORDS)
    assert attempt(request(folder, str(folder).encode(), on="box", seconds=0), seams) is None
    return seams.count


def sweep(folder: Path, most: int) -> None:
    """Break so many of a job's words, evenly spread."""
    folder.mkdir()
    installing, count = words(folder / "first"), words(folder / "second")
    assert installing > count
    met = [one(folder / str(nth), nth) for nth in range(1, count, max(count // most, 1))]
    kinds = {kind: met.count(kind) for kind in WORDS}
    print(f"\nsweep over SSH: {sum(kinds.values())} of {count} seams {kinds}; neither 0")
    assert sum(kinds.values()) >= 0.7 * len(met), "a job does not always need the same number of words, but nearly"


def test_it_ends_before_or_after_whatever_word_is_lost(box: None, tmp_path: Path) -> None:
    sweep(tmp_path / "sweep", 6)


@pytest.mark.soak
def test_it_does_for_very_many_words(box: None, tmp_path: Path) -> None:
    sweep(tmp_path / "sweep", 400)
