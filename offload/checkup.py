"""`offload targets test`: everything a job will need of a target, one step after the other."""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import services
from broker import scripts
from broker.agent import Agent
from broker.broker import Broker
from broker.errors import OffloadError
from broker.targets import Target
from executors.base import Executor, ExecutorError, Span

ROUND_TRIP_BYTES = 1_000_000


@dataclass(frozen=True)
class Step:
    """One step: whether it went well, and what was found, or what to type. `exit_code` says how it failed."""

    name: str
    ok: bool
    said: str
    exit_code: int = 0


def checkup(broker: Broker, target: Target) -> Iterator[Step]:
    """Go through a target; the first step that fails is the last."""
    probe = broker.journal.health.ask(target)
    yield Step("reach", probe.reachable, "it answers" if probe.reachable else probe.reason)
    if not probe.reachable:
        return
    try:
        with target.executor() as executor:
            yield Step("key and login", True, "known key, logged in")
            yield from _inside(executor)
    except (ExecutorError, OffloadError) as error:
        hint = getattr(error, "hint", "")
        yield Step("then", False, f"{error}" + (f"; type: {hint}" if hint else ""), error.exit_code)


def _inside(executor: Executor) -> Iterator[Step]:
    agent = Agent(executor, scripts.bundle(scripts.folder() / "runner.py"))
    agent.install()
    facts = agent.facts()
    yield Step("Python", True, f"{facts['python']} at {facts['executable']}")
    yield Step("disk", True, f"{facts['disk_free_bytes'] / 1e9:.1f} GB free")
    gpu = facts["gpu"]
    yield Step("GPU", True, f"{gpu['name']}, {gpu['memory_bytes'] / 1e9:.0f} GB" if gpu else "none")
    yield from (_environment(executor, agent, name) for name in services.names())
    yield _round_trip(executor)


def _environment(executor: Executor, agent: Agent, name: str) -> Step:
    script = scripts.folder() / services.find(name).script
    try:
        agent.prepare(scripts.environment(script, ()))
    except OffloadError as error:
        if executor.local_path("jobs") is None:
            return Step(name, True, "its packages will be installed there by the first job")
        return Step(name, False, f"{error}; type: {error.hint}", error.exit_code)
    return Step(name, True, "its packages are there")


def _round_trip(executor: Executor) -> Step:
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "sample"
        sample.write_bytes(secrets.token_bytes(ROUND_TRIP_BYTES))
        span, name = Span(0, ROUND_TRIP_BYTES), "parts/round-trip"
        started = time.monotonic()
        executor.put(sample, span, name)
        up = time.monotonic() - started
        same = executor.get(name, span) == sample.read_bytes()
        down = time.monotonic() - started - up
    rates = f"{ROUND_TRIP_BYTES / up / 1e6:.1f} MB/s up, {ROUND_TRIP_BYTES / down / 1e6:.1f} MB/s down"
    return Step("1 MB there and back", same, rates if same else "it came back different", 0 if same else 9)
