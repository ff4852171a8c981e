"""The plan: the targets in the order they will be tried, each with a reason and an estimate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from broker.forecast import Forecast
from broker.targets import LOCAL, Target
from executors.base import Probe


@dataclass(frozen=True)
class Candidate:
    """A target that may take the job; `send_bytes` would travel, and `seconds` is None where nobody can tell.

    `shared` is one that shares our files. `unfit` says why it had better not have the job; it is tried last.
    """

    target: Target
    probe: Probe
    reason: str
    send_bytes: int
    seconds: float | None = None
    forecast: Forecast | None = None
    shared: bool = False
    unfit: str = ""

    def foreseen(self, prepares: bool, ease: int) -> dict[str, float] | None:
        """The forecast as an attempt remembers it; None for a preparation, and where it goes another way."""
        return None if self.forecast is None or prepares or ease else self.forecast.seconds()


def plan(targets: Iterable[Target], input_bytes: int, ask: Callable[[Target], Probe]) -> list[Candidate]:
    """Ask the targets, in order. Those that cannot be reached come along too, with why: they are not tried."""
    order = list(targets)
    found: list[Candidate] = []
    for target in order:
        probe, shared = ask(target), target.executor().local_path("jobs") is not None
        reason = _reason(target, probe, found, alone=len(order) == 1)
        found.append(Candidate(target, probe, reason, 0 if shared else input_bytes, shared=shared))
    return found


def _reason(target: Target, probe: Probe, before: Sequence[Candidate], alone: bool) -> str:
    if not probe.reachable:
        return said_away(probe)
    if any(candidate.probe.reachable for candidate in before):
        return "the next in your order"
    if target.name == LOCAL and (alone or before):
        return "no other target to choose from" if alone else "no other target can be reached"
    return "the first reachable target in your order"


def said_away(probe: Probe) -> str:
    """Why a target is not tried, and what to type."""
    said = f"cannot be reached: {probe.reason}" if probe.away else probe.reason
    return f"{said}; type: {probe.hint}" if probe.hint else said
