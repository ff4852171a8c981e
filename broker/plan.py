"""The plan: the targets in the order they will be tried, each with a reason and an estimate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from broker.targets import LOCAL, Target
from executors.base import Probe

PROBE_SECONDS = 2.0


@dataclass(frozen=True)
class Candidate:
    """A target that may take the job; `send_bytes` would travel, and `seconds` is None while nothing was measured."""

    target: Target
    probe: Probe
    reason: str
    send_bytes: int
    seconds: float | None = None


def plan(targets: Iterable[Target], input_bytes: int) -> list[Candidate]:
    """Probe the targets, in order. Those that cannot be reached come along too, with why: they are not tried."""
    order = list(targets)
    found: list[Candidate] = []
    for target in order:
        found.append(_candidate(target, input_bytes, found, alone=len(order) == 1))
    return found


def _candidate(target: Target, input_bytes: int, before: Sequence[Candidate], alone: bool) -> Candidate:
    executor = target.executor()
    probe = executor.probe(PROBE_SECONDS)
    shared = executor.local_path("jobs") is not None
    return Candidate(target, probe, _reason(target, probe, before, alone), 0 if shared else input_bytes)


def _reason(target: Target, probe: Probe, before: Sequence[Candidate], alone: bool) -> str:
    if not probe.reachable:
        return f"cannot be reached: {probe.reason}"
    if any(candidate.probe.reachable for candidate in before):
        return "the next in your order"
    if target.name == LOCAL and (alone or before):
        return "no other target to choose from" if alone else "no other target can be reached"
    return "the first reachable target in your order"
