"""Fail the Nth operation of a whole job, for every N: it ends before or after, and asked again it ends well."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

import executors
from broker import settings, staging
from broker.broker import Broker
from broker.errors import OffloadError
from broker.job import Request, State
from broker.stop import Stop
from executors.base import ExecutorError
from tests.broker.jobs import request
from tests.sweep import inside
from tests.sweep.inside import InsideExecutor
from tests.sweep.seams import Seams

INPUTS = (b"one" * 40,)


class Impatient(Stop):
    """Sleeps without waiting, though not for ever."""

    slept = 0

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        assert self.slept < 100, "it waits for something that never comes"


@dataclass
class Summary:
    """What became of the job, seam by seam."""

    before: int = 0
    after: int = 0
    neither: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def seams(self) -> int:
        """How many were tried."""
        return sum(self.kinds.values())

    def __str__(self) -> str:
        ends = f"before {self.before}, after {self.after}, neither {len(self.neither)}, untold {len(self.untold)}"
        return f"sweep: {self.seams} seams {dict(self.kinds)}; {ends}"


@pytest.fixture(autouse=True)
def _inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(executors.KINDS, "inside", "tests.sweep.inside:InsideExecutor")
    monkeypatch.setattr(staging, "PART_BYTES", 50)
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    with inside.runner(monkeypatch):
        yield


def one(folder: Path, nth: int, number: int, share: str, summary: Summary) -> bool:
    """A job whose Nth operation fails, and the same request afterwards; returns whether there was an Nth."""
    home = folder / "home"
    folders = {f"{name}_dir": home / name for name in ("config", "state", "cache", "cgpu_config")}
    places = settings.Settings(**folders, grace_seconds=0)
    places.config_dir.mkdir(parents=True)
    (places.config_dir / "targets.toml").write_text(f'[box]\nurl = "inside://{home}/box"\nshare = "{share}"\n')
    asked = request(folder / "media", *INPUTS, on="box", digest=True)
    InsideExecutor.seams = Seams(nth, number)
    with InsideExecutor.seams as seams:
        ended = attempt(places, asked)
    if seams.met is None:
        assert ended is None, ended
        return False
    name = f"seam {nth}, {errno.errorcode[number]} at {seams.met[0]} of {seams.met[1]}"
    summary.kinds[seams.met[0]] += 1
    told = ended is None or isinstance(ended, (OffloadError, ExecutorError))
    if not told:
        summary.untold.append(f"{name}: {ended!r}")
    if seams.met[0] != "unlink" and list((folder / "media").glob(".*")):
        summary.neither.append(f"{name}: a part was left")
    judge(asked, name, summary)
    InsideExecutor.seams = Seams(0, number)
    again(places, asked, name, summary)
    return True


def attempt(places: settings.Settings, asked: Request) -> BaseException | None:
    """Ask once, as a command does; returns what it ends with."""
    try:
        with Broker(places) as broker:
            job = broker.submit(asked)
            for _ in broker.drive(job, Impatient()):
                pass
    except Exception as error:  # noqa: BLE001 - judged by who looks at it
        return error
    return None


def judge(asked: Request, name: str, summary: Summary) -> None:
    """Before or after: every original as it was, every destination absent or right."""
    found = [good(entry.source, dict(entry.outputs), data) for entry, data in zip(asked.inputs, INPUTS, strict=True)]
    if None in found:
        summary.neither.append(f"{name}: half-way")
    elif all(found):
        summary.after += 1
    else:
        summary.before += 1


def good(source: Path, outputs: dict[str, Path], data: bytes) -> bool | None:
    """Whether an input's outputs are all there; None when anything is not as it should be."""
    wanted = inside.made(data)
    right = all(not path.exists() or path.read_bytes() == wanted[name] for name, path in outputs.items())
    if not right or source.read_bytes() != data:
        return None
    return all(path.exists() for path in outputs.values())


def again(places: settings.Settings, asked: Request, name: str, summary: Summary) -> None:
    """The same request, and nothing fails: everything is there, once, and nothing else."""
    with Broker(places) as broker:
        broker.journal._db.execute("DELETE FROM health")
    ended = attempt(places, asked)
    with Broker(places) as broker:
        states = [job.state for job in broker.journal.jobs()]
    expected = {path for entry in asked.inputs for path in (entry.source, *entry.outputs.values())}
    found = set(asked.inputs[0].source.parent.iterdir())
    whole = [good(entry.source, dict(entry.outputs), data) for entry, data in zip(asked.inputs, INPUTS, strict=True)]
    if ended is not None or not all(whole) or found != expected or states[0] is not State.DONE:
        strays = [path.name for path in found - expected]
        summary.neither.append(f"{name}: asked again it ended with {ended!r}, {states}, strays {strays}, {whole}")


def sweep(folder: Path, number: int, share: str, first: int = 1, stride: int = 1) -> Summary:
    summary = Summary()
    for nth in count(first, stride):
        if not one(folder / str(nth), nth, number, share, summary):
            break
    print(f"\n{errno.errorcode[number]}, share {share}: {summary}")
    return summary


def check(folder: Path, cases: Sequence[tuple[int, str]], stride: int) -> int:
    """Sweep each case; returns how many seams were tried."""
    seams = 0
    for number, share in cases:
        summary = sweep(folder / f"{number}-{share}", number, share, stride=stride)
        assert summary.neither == []
        assert summary.untold == [], "a person would see a traceback"
        seams += summary.seams
    return seams


def test_it_ends_before_or_after_whatever_fails(shm: Path) -> None:
    assert check(shm, [(errno.EIO, "yes"), (errno.ENOSPC, "no")], stride=19) >= 90


@pytest.mark.soak
def test_it_does_at_every_single_seam(shm: Path) -> None:
    cases = [(number, share) for number in (errno.EIO, errno.ENOSPC) for share in ("yes", "no")]
    assert check(shm, cases, stride=1) >= 1600
