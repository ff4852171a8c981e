"""Kill -9 at the Nth operation of keeping a result and of having it again: it is before or after, and goes on well."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

import executors
from broker import settings, staging
from broker.broker import Broker
from broker.job import Request, State
from broker.keeping import results
from broker.settings import Settings
from tests.broker.again import elsewhere
from tests.broker.jobs import request
from tests.sweep import inside
from tests.sweep.inside import InsideExecutor
from tests.sweep.seams import Seams
from tests.sweep.test_sweep import Impatient

CONTENT = b"one" * 40
KILLED = 9


class Deadly(Seams):
    """At the Nth operation the process is gone. With `after`, counted from the first that has this word in it."""

    def __init__(self, nth: int, after: str = "") -> None:
        super().__init__(nth, 0)
        self._after = after

    def strike(self, what: str, on: object) -> None:
        if self._after and self._after not in str(on):
            return
        self._after = ""
        super().strike(what, on)

    def _error(self, what: str, on: object) -> Exception:
        os._exit(KILLED)


@pytest.fixture(autouse=True)
def _inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(executors.KINDS, "inside", "tests.sweep.inside:InsideExecutor")
    monkeypatch.setattr(staging, "PART_BYTES", 50)
    InsideExecutor.seams = Seams(0, 0)
    with inside.runner(monkeypatch):
        yield


def places(home: Path) -> Settings:
    """Folders of its own, and the machine."""
    folders = {f"{name}_dir": home / name for name in ("config", "state", "cache", "cgpu_config")}
    found = settings.Settings(**folders, grace_seconds=0)
    found.config_dir.mkdir(parents=True)
    (found.config_dir / "targets.toml").write_text(f'[box]\nurl = "inside://{home}/box"\nshare = "yes"\n')
    return found


def type_(config: Settings, asked: Request) -> None:
    """Ask once, as a command does."""
    with Broker(config) as broker:
        for _ in broker.drive(broker.submit(asked), Impatient()):
            pass


def killed(config: Settings, asked: Request, nth: int, after: str) -> bool:
    """Ask in a process that is killed at a seam; returns whether there was an Nth."""
    pid = os.fork()
    if pid == 0:
        try:
            with Deadly(nth, after):
                type_(config, asked)
        except BaseException:  # noqa: BLE001 - nothing of this process may go on in the tests
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def good(asked: Request) -> bool:
    """Whether the outputs are there; each is right, if it is."""
    right = inside.made(CONTENT)
    found = dict(asked.inputs[0].outputs)
    assert all(not dest.exists() or dest.read_bytes() == right[name] for name, dest in found.items())
    return all(dest.exists() for dest in found.values())


def check(config: Settings, *asked: Request) -> None:
    """All is there, once, and what is kept is right."""
    assert all(map(good, asked))
    for one in asked:
        folder = next(iter(one.inputs[0].outputs.values())).parent
        strangers = {path.name for path in folder.iterdir()} - {"0.dat", "0.worked.bin", "0.worked.txt"}
        assert not strangers
    with Broker(config) as broker:
        assert {job.state for job in broker.journal.jobs()} == {State.DONE}
        kept = results(config, broker.journal)
        assert kept.sweep(config.result_bytes).results == 0
        for result in kept.rows.all():
            files = {name: (kept.folder / sha256).read_bytes() for name, (_, sha256) in result.files.items()}
            assert files == inside.made(CONTENT)
        drafts = {path.name for path in kept.folder.glob(".*")}
        assert {path.name for path in kept.folder.iterdir()} - drafts <= kept.rows.named()
        assert len(broker.journal.jobs()) == len(asked)


def keeping(folder: Path, nth: int) -> str:
    """Kill one that keeps; returns what had become of it."""
    config, first = places(folder / "home"), request(folder / "media", CONTENT, on="box", digest=True)
    met = killed(config, first, nth, "/results")
    end = ("after" if good(first) else "before") if met else ""
    type_(config, first) if met and not done(config, first) else None
    second = elsewhere(first, folder / "other")
    type_(config, second)
    check(config, first, second)
    return end


def having(folder: Path, nth: int) -> str:
    """Kill one that has it again; returns what had become of it."""
    config, first = places(folder / "home"), request(folder / "media", CONTENT, on="box", digest=True)
    type_(config, first)
    second = elsewhere(first, folder / "other")
    met = killed(config, second, nth, "")
    end = ("after" if good(second) else "before") if met else ""
    type_(config, second) if met and not done(config, second) else None
    check(config, first, second)
    return end


def done(config: Settings, asked: Request) -> bool:
    """Whether the job is over: typing it again would make another."""
    with Broker(config) as broker:
        return broker.journal.jobs(1)[0].state.over and good(asked)


def sweep(folder: Path, way: object, stride: int) -> Counter[str]:
    """Kill at every seam; returns how often it was before, and after."""
    ends = Counter[str]()
    for nth in count(1, stride):
        end = way(folder / str(nth), nth)  # type: ignore[operator]
        if not end:
            break
        ends[end] += 1
    print(f"\nkilled: {dict(ends)}")
    return ends


@pytest.mark.parametrize("way", [keeping, having])
def test_it_is_before_or_after_wherever_it_is_killed(way: object, shm: Path) -> None:
    assert sweep(shm, way, stride=17).total() >= 5


@pytest.mark.soak
@pytest.mark.parametrize("way", [keeping, having])
def test_it_is_at_every_single_seam(way: object, shm: Path) -> None:
    assert sweep(shm, way, stride=1).total() >= 40
