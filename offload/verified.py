"""One request done once on each of several targets, and how equal what they made is."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from broker.broker import Broker
from broker.errors import Interrupted, NoTarget, OffloadError, OutOfReach, UsageError, batch_exit_code
from broker.events import Published
from broker.job import Input, Item, Request, State
from broker.stop import SIGNALS, Stop
from executors.base import ExecutorError
from services.base import inputs as select
from services.base.compare import Comparison, Level, compare
from services.base.progress import display
from services.base.request import Terms
from services.base.request import request as job_request
from services.base.service import Params, Service
from services.base.text import near

MISMATCH = 9
"""Exit code where the service's contract is not kept."""

BY_THE_SCRIPT = ("bad_input", "failed")
"""Failures that are a script's own finding. Where only one target has it, the targets do not agree."""

NO_VERSIONS = ("interpreter", "memory_bytes")
"""What receipts tell with the versions, and decides nothing of an output."""


@dataclass(frozen=True)
class Run:
    """The request done on one target: its items, and the receipt."""

    target: str
    items: tuple[Item, ...]
    receipt: Mapping[str, Any]

    @property
    def versions(self) -> dict[str, Any]:
        """What it ran with."""
        told = [attempt["versions"] for attempt in self.receipt["attempts"] if not attempt["prepares"]]
        every = {name: value for versions in told for name, value in versions.items()}
        return {name: every[name] for name in every if name not in NO_VERSIONS and not name.endswith("_seconds")}


@dataclass(frozen=True)
class Pair:
    """One output of an input as two targets made it. `paths` are None where one of them made none."""

    source: Path
    name: str
    targets: tuple[str, str]
    paths: tuple[Path, Path] | None
    found: Comparison


@dataclass(frozen=True)
class Verified:
    """All runs of a request, and each output of the first compared with that of every other."""

    service: Service
    runs: Sequence[Run]
    pairs: Sequence[Pair]
    rejected: int

    @property
    def level(self) -> Level | None:
        """The least level that an output reaches; None where there is nothing to compare."""
        return min((pair.found.level for pair in self.pairs), default=None)

    @property
    def kept(self) -> bool:
        """Whether the service's contract is kept, as far as something could be compared."""
        return self.level is None or self.level >= Level[self.service.contract.upper()]

    @property
    def code(self) -> int:
        """The exit code."""
        if not self.kept:
            return MISMATCH
        kinds = [
            next(filter(None, each), None) for each in zip(*(map(_kind, run.items) for run in self.runs), strict=True)
        ]
        return batch_exit_code([*kinds, *["bad_input"] * self.rejected])

    @property
    def versions(self) -> dict[str, list[Any]]:
        """What the runs differ in: name -> the value of each, None where one does not tell it."""
        told = [run.versions for run in self.runs]
        names = {name: None for versions in told for name in versions}
        rows = {name: [versions.get(name) for versions in told] for name in names}
        return {name: values for name, values in rows.items() if any(value != values[0] for value in values)}


def _kind(item: Item) -> str | None:
    return item.kind


def check_reachable(broker: Broker, names: Sequence[str]) -> None:
    """Raise the error of the first target that cannot be reached, before anything has been done on another."""
    for candidate in broker.plan(",".join(dict.fromkeys(names)), 0):
        if not candidate.probe.reachable:
            raise candidate.probe.error(candidate.target.name)


@contextmanager
def scratch(keep: Path | None) -> Iterator[Path]:
    """A folder that is removed in the end, by whatever that comes; all that went well becomes `keep`.

    Ctrl-C, SIGTERM and SIGHUP raise Interrupted in it. Raises UsageError when `keep` cannot be made.
    """
    with _interruptible():
        folder = _new_folder(keep)
        try:
            yield folder
            if keep is not None:
                folder.rename(keep)
        finally:
            for number in SIGNALS:
                signal.signal(number, signal.SIG_IGN)  # what is half removed would stay
            if folder.exists():
                shutil.rmtree(folder)


def _new_folder(keep: Path | None) -> Path:
    try:
        if keep is None:
            return Path(tempfile.mkdtemp(prefix="offload-verify-"))
        return Path(tempfile.mkdtemp(prefix=f".{keep.name[:100]}.", dir=keep.parent))
    except OSError as error:
        raise UsageError(
            f"the outputs have no place: {error.strerror}", "name another folder: --keep-outputs"
        ) from error


@contextmanager
def _interruptible() -> Iterator[None]:
    def hear(number: int, frame: FrameType | None) -> None:
        raise Interrupted("interrupted; nothing is left of it")

    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, hear) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def place(paths: Sequence[Path], folder: Path, service: Service, params: Params) -> tuple[Input, ...]:
    """The inputs, with every output below `folder`: each input has a folder there of its own."""
    inputs = []
    for index, path in enumerate(paths):
        below = folder / f"{index + 1}"
        below.mkdir(parents=True)
        (entry,) = select.assign([path], f"{below}/", service, params)
        inputs.append(Input(path, {name: below / dest.name for name, dest in entry.outputs.items()}, entry.options))
    return tuple(inputs)


def request(
    service: Service, params: Params, inputs: tuple[Input, ...], target: str, command: tuple[str, ...]
) -> Request:
    """The request of one run. Its outputs go where no other's do: no unfinished job is the same.

    They are for nobody else: they may be about to be found wrong.
    """
    terms = Terms(on=target, fallback=False, cache=False)
    return replace(job_request(service, params, inputs, terms, command, Path.cwd(), ""), keeps_results=False)


def run(broker: Broker, service: Service, asked: Request, quiet: bool) -> Run:
    """Do the request on its target, in a job that leaves nothing behind unless the script failed.

    Raises what Dispatch does.
    """
    job, stop = broker.submit(asked), Stop()
    try:
        with stop.on_signals(), display(quiet, [near(item.source) for item in job.items], service.describe) as shown:
            for event in broker.drive(job, stop):
                if not isinstance(event, Published):  # where it is now will be gone
                    shown.show(event)
        return Run(asked.on, broker.journal.job(job.id).items, broker.receipt(job.id))
    except OutOfReach as error:  # its advice is to take the job up, and it is given up
        raise NoTarget(
            f"{error.__cause__ or error}; nothing was compared", f"offload targets test {asked.on}"
        ) from error
    except KeyboardInterrupt:
        raise Interrupted("stopped at once") from None
    finally:
        _forget(broker, job.id)


def _forget(broker: Broker, job: str) -> None:
    """Forget a job, except for one that failed: its log tells why."""
    # What cannot be tidied up now is listed by `jobs ls`, as any job is.
    with suppress(OffloadError, ExecutorError):
        if not broker.journal.job(job).state.over:
            broker.cancel(broker.journal.job(job))
        if broker.journal.job(job).state not in (State.FAILED, State.PARTLY):
            broker.remove(broker.journal.job(job))


def pairs(service: Service, runs: Sequence[Run]) -> Iterator[Pair]:
    """Compare what the first run made with what each other did. Raises MissingHere where a tool lacks for that."""
    first, *others = runs
    for other in others:
        targets = (first.target, other.target)
        for ours, theirs in zip(first.items, other.items, strict=True):
            if ours.done and theirs.done:
                yield from _outputs(service, targets, ours, theirs)
            elif ours.kind != theirs.kind and {ours.kind, theirs.kind} <= {None, *BY_THE_SCRIPT}:
                yield Pair(
                    ours.source, "", targets, None, Comparison(Level.DIFFERENT, {}, _disagree(targets, ours, theirs))
                )


def _outputs(service: Service, targets: tuple[str, str], ours: Item, theirs: Item) -> Iterable[Pair]:
    for one, other in zip(ours.outputs, theirs.outputs, strict=True):
        found = compare(one.dest, other.dest, service.compare)
        yield Pair(ours.source, one.name, targets, (one.dest, other.dest), found)


def _disagree(targets: Sequence[str], *items: Item) -> str:
    said = (f"{target}: {item.error if item.kind else 'made'}" for target, item in zip(targets, items, strict=True))
    return "; ".join(said)
