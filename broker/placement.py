"""Placement: which of the targets that may have a job are tried first, and the sentence why.

Today's order is that of the file. It stays where a person named the targets, where `worth` is 0, and where nobody can
tell how long the job will take. Otherwise the soonest comes first, and another machine comes before this one only if it
is `worth` times faster. A target that a rule prefers comes before all, one that is not fit for the job after all.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from broker import rules
from broker.forecast import Forecast, Forecasts, Place, told
from broker.history import History
from broker.plan import Candidate, said_away
from broker.settings import Settings
from broker.targets import LOCAL, Target
from broker.work import Work

DAY_SECONDS = 86400.0
SPARE = 1.2
"""Room asked for, times what a job is known to bring: there are its environment and its own files, too."""
WORTH_SAYING = 1_000_000


def place(
    candidates: Sequence[Candidate],
    work: Work,
    on: str,
    settings: Settings,
    history: History,
    here: Target,
    sources: Collection[Path],
) -> list[Candidate]:
    """The candidates in the order to try them, each with its forecast and the reason of its place."""
    foreseen = forecast(candidates, work, history, here, settings)
    if on not in ("auto", "remote") or not foreseen:
        return foreseen
    wishes = rules.preferred(settings.rules, work.service, sources)
    ordered = _by_time(foreseen, settings.worth) if settings.worth and _comparable(foreseen) else foreseen
    return _wished(sorted(ordered, key=lambda one: bool(one.unfit)), wishes, settings)


def forecast(
    candidates: Sequence[Candidate], work: Work, history: History, here: Target, settings: Settings
) -> list[Candidate]:
    """The candidates in the same order, each with its forecast, and why it is not fit if it is not."""

    def there(target: Target) -> set[str]:
        return history.sent(target, work.blobs, _oldest(target, settings.keep_days))

    local = next((one for one in candidates if one.target.name == LOCAL), None)
    probe = local.probe if local else here.executor().probe(1.0)
    places = [Place(one.target, one.probe, one.shared, _is_cold(one.target)) for one in candidates]
    found = Forecasts(work, history, Place(here, probe, True), there).on(places)
    pairs = [(one, expected, unfit(one, work, expected)) for one, expected in zip(candidates, found, strict=True)]
    return [
        replace(one, forecast=expected, send_bytes=expected.send_bytes, seconds=expected.total, unfit=why)
        for one, expected, why in pairs
    ]


def _is_cold(target: Target) -> bool:
    return target.rented() is not None and target.holding() is None


def _oldest(target: Target, days: float) -> float:
    """When a blob that is still on a target must have been brought there, in seconds since the epoch, or later."""
    oldest, holding = time.time() - days * DAY_SECONDS, target.holding()
    if holding:
        return max(oldest, holding.taken)
    return time.time() + DAY_SECONDS if target.rented() else oldest


def unfit(candidate: Candidate, work: Work, expected: Forecast) -> str:
    """Why a target had better not have the job; empty where nothing speaks against it. This machine always may."""
    probe = candidate.probe
    if candidate.target.name == LOCAL:
        return ""
    if work.memory and probe.gpu_memory_bytes and probe.gpu_memory_bytes < work.memory:
        return f"its GPU has {size(probe.gpu_memory_bytes)}; the model needs about {size(work.memory)}"
    room = SPARE * (expected.send_bytes + (work.weights or 0))
    if not candidate.shared and probe.disk_free_bytes is not None and probe.disk_free_bytes < room:
        return f"its disk has {size(probe.disk_free_bytes)} left; the job needs about {size(room)}"
    if probe.hours is not None and expected.total is not None and expected.total > probe.hours * 3600:
        return f"it would take {told(expected.total)}, and a machine can be had there for {told(probe.hours * 3600)}"
    return ""


def _comparable(candidates: Sequence[Candidate]) -> bool:
    """Whether it is known of each how long it takes: one that is never tried would never be measured."""
    fit = [one for one in candidates if one.probe.reachable and not one.unfit]
    return len(candidates) > 1 and bool(fit) and all(one.seconds is not None for one in fit)


def _by_time(candidates: Sequence[Candidate], worth: float) -> list[Candidate]:
    def cost(one: Candidate) -> float:
        if one.seconds is None:  # it cannot be reached, and nobody knows: where it was, after those that are
            return float("inf")
        return one.seconds * (1.0 if one.target.name == LOCAL else worth)

    ordered = sorted(candidates, key=cost)
    tried = [one for one in ordered if one.probe.reachable]
    if len(tried) < 2:
        return ordered
    first = tried[0]
    reasons = {first.target.name: _why(first, tried[1:], worth)}
    reasons |= {one.target.name: _time(one) for one in tried[1:]}
    return [replace(one, reason=reasons.get(one.target.name, one.reason)) for one in ordered]


def _why(first: Candidate, others: Sequence[Candidate], worth: float) -> str:
    local = next((one for one in others if one.target.name == LOCAL), None)
    other = local or others[0]
    sooner = (other.seconds or 0.0) < (first.seconds or 0.0) and worth > 1
    price = f", which is not {worth:g} times faster" if sooner else ""
    known = "" if first.forecast and first.forecast.measured else "; estimated, as nothing like it ran there yet"
    return f"{_time(first)}; {_name(other)} {_time(other)}{price}{known}"


def _time(one: Candidate) -> str:
    sent = f" ({size(one.send_bytes)} to send)" if one.send_bytes >= WORTH_SAYING else ""
    return f"{told(one.seconds or 0.0)}{sent}"


def _name(one: Candidate) -> str:
    return "here" if one.target.name == LOCAL else one.target.name


def _wished(candidates: Sequence[Candidate], wishes: Mapping[str, int], settings: Settings) -> list[Candidate]:
    def reason(one: Candidate) -> str:
        if not one.probe.reachable:
            return said_away(one.probe)
        if one.unfit:
            return f"not fit: {one.unfit}"
        rule = wishes.get(one.target.name)
        return f"rule {rule} in {settings.config_dir / 'config.toml'} prefers it" if rule else one.reason

    wished = sorted(candidates, key=lambda one: _wish(one, [*wishes]))
    return [replace(one, reason=reason(one)) for one in wished]


def _wish(one: Candidate, wishes: Sequence[str]) -> int:
    name = one.target.name
    return wishes.index(name) if name in wishes and not one.unfit else len(wishes)


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.{0 if count >= 10 * factor else 1}f} {unit}"
    return f"{count:.0f} bytes"
