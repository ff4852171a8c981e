"""Everything a job will need of a target, one step after the other: `offload targets test`."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import services
from broker import keeper, measure, scripts
from broker.agent import Agent
from broker.broker import Broker
from broker.errors import IntegrityError, LimitError, MissingHere, OffloadError
from broker.targets import Target
from executors.base import Executor, ExecutorError, Probe, Span

ROUND_TRIP_BYTES = 1_000_000
LEAST_DISK_BYTES = 10**9
"""An environment and a short clip with its result take this much; a job on a fuller disk would only fail later."""

SET_UP = "set-up"
"""What entering a target may still fail at when all its steps went well, and the executor does not say."""


@dataclass(frozen=True)
class Step:
    """One step: whether it went well and what was found, or why not and what to type. `exit_code` is how it failed."""

    name: str
    said: str = ""
    hint: str = ""
    exit_code: int = 0

    @property
    def ok(self) -> bool:
        """Whether it went well."""
        return self.exit_code == 0


def checkup(broker: Broker, target: Target) -> Iterator[Step]:
    """Go through a target; the first step that fails is the last. What is learnt of it is remembered, a failure too."""
    probe = broker.journal.health.ask(target)
    if not probe.reachable:
        yield from _stopped(probe.steps, 0, probe.error(target.name))
        return
    for step in _inside(broker, target, probe):
        if not step.ok:
            broker.journal.health.found(target, _as_probe(target, probe, step))
        yield step


def _inside(broker: Broker, target: Target, probe: Probe) -> Iterator[Step]:
    try:
        with target.executor() as executor:
            keeper.start(broker.settings, executor)
            yield from map(Step, probe.steps)
            visit = Visit(executor)
            for step in visit.steps():
                yield step
                if not step.ok:
                    return
            broker.journal.health.learned(target, **visit.learned())
    except ExecutorError as error:  # when entering: a visit tells its own
        yield from _stopped(probe.steps, len(probe.steps), error)


def _as_probe(target: Target, probe: Probe, failed: Step) -> Probe:
    """What a look would have answered, had it seen the step that failed."""
    reason = failed.said.removeprefix(f"{target.name}: ")
    return replace(
        probe, reachable=False, reason=reason, step=failed.name, hint=failed.hint, exit_code=failed.exit_code
    )


def _stopped(steps: Sequence[str], reached: int, error: ExecutorError) -> Iterator[Step]:
    """The steps before the one that failed, and that one. `reached` is how many went well if the error does not say."""
    passed = steps.index(error.step) if error.step in steps else reached
    yield from map(Step, steps[:passed])
    yield _failure(error.step or (*steps, SET_UP)[passed], error)


def _failure(name: str, error: ExecutorError | OffloadError) -> Step:
    return Step(name, str(error), error.hint, error.exit_code)


class Visit:
    """What can be seen of a target that was entered: a look for each step, which says what it found, or raises."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._agent = Agent(executor, scripts.bundle(scripts.runner()))

    def steps(self) -> Iterator[Step]:
        """Look at one thing after the other."""
        return (_told(name, look) for name, look in self._looks().items())

    def learned(self) -> Mapping[str, Any]:
        """What was found, as fields of a Probe."""
        return measure.facts(self._facts)

    def _looks(self) -> dict[str, Callable[[], str]]:
        environments = {f"environment of {name}": partial(self._environment, name) for name in services.names()}
        fixed = {"Python": self._python, "disk": self._disk, "GPU": self._gpu}
        return {**fixed, **environments, "1 MB there and back": self._round_trip}

    @cached_property
    def _facts(self) -> Mapping[str, Any]:
        self._agent.install()
        return self._agent.facts()

    def _python(self) -> str:
        return f"{self._facts['python']} at {self._facts['executable']}"

    def _disk(self) -> str:
        free = int(self._facts["disk_free_bytes"])
        said = f"{free / 1e9:.1f} GB free"
        if free < LEAST_DISK_BYTES:
            least = f"{LEAST_DISK_BYTES / 1e9:.0f} GB"
            raise LimitError(f"{self._executor.name}: {said}, and a job needs {least}", "offload jobs ls")
        return said

    def _gpu(self) -> str:
        gpu = self._facts["gpu"]
        if not gpu:
            return "none"
        memory = gpu["memory_bytes"]  # None where it is the machine's own
        return f"{gpu['name']}, {memory / 1e9:.0f} GB" if memory else str(gpu["name"])

    def _environment(self, name: str) -> str:
        script = scripts.folder() / services.find(name).script
        try:
            self._agent.prepare(scripts.environment(script, ()))
        except MissingHere:
            if self._executor.local_path("jobs") is not None:  # it runs on our own Python, which is the user's to mend
                raise
            return "its packages will be installed there by the first job"
        return "its packages are there"

    def _round_trip(self) -> str:
        data = secrets.token_bytes(ROUND_TRIP_BYTES)
        name, span = f"parts/{hashlib.sha256(data).hexdigest()}/0", Span(0, ROUND_TRIP_BYTES)
        with tempfile.TemporaryDirectory() as folder:
            sample = Path(folder) / "sample"
            sample.write_bytes(data)
            started = time.monotonic()
            self._executor.put(sample, span, name)
        up = time.monotonic() - started
        same = self._executor.get(name, span) == data
        down = time.monotonic() - started - up
        self._executor.run(["rm", "-r", str(Path(name).parent)])
        if not same:
            raise IntegrityError(f"{self._executor.name}: what was sent came back different")
        return f"{ROUND_TRIP_BYTES / up / 1e6:.1f} MB/s up, {ROUND_TRIP_BYTES / down / 1e6:.1f} MB/s down"


def _told(name: str, look: Callable[[], str]) -> Step:
    try:
        return Step(name, look())
    except (ExecutorError, OffloadError) as error:
        return _failure(name, error)
