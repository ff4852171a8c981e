"""What a list tells of each target, and of each model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from broker.models import cached, catalogue, lock, pinning, store
from broker.models.catalogue import Entry
from broker.models.pin import HUB, Pin
from broker.models.prefetch import holds_nothing, visit
from broker.plan import Candidate
from broker.settings import Settings
from broker.stop import Stop
from broker.targets import LOCAL, Target
from executors.base import NoQuota, NotInstalled, Probe, Refused


def target_row(candidate: Candidate) -> dict[str, Any]:
    """A target as it answered, and what machine it holds."""
    probe = candidate.probe
    return {
        "name": candidate.target.name,
        "kind": candidate.target.kind,
        "state": _state(probe),
        "reachable": probe.reachable,
        "cpus": probe.cpus,
        "gpu": probe.gpu,
        "disk_free_bytes": probe.disk_free_bytes,
        "reason": candidate.reason,
        "holds": _held(candidate.target),
    }


def _held(target: Target) -> str | None:
    rented = target.rented()
    holding = rented.held() if rented else None
    if holding is None:
        return None
    return f"{holding.what} since {time.strftime('%Y-%m-%d %H:%M', time.localtime(holding.taken))}"


def _state(probe: Probe) -> str:
    """The state of a target in a word. Only the one that is away may come back by itself."""
    if probe.reachable:
        return "up"
    known = {Refused: "refused", NotInstalled: "not installed", NoQuota: "full"}
    return {kind.exit_code: word for kind, word in known.items()}.get(probe.exit_code, "away")


def model_rows(config: Settings, service: str, target: Target) -> Iterator[dict[str, Any]]:
    """The models of the catalogue and those used before, of one service if it is given, and whether `target` has them.

    Raises ExecutorError when another target than this machine cannot be asked.
    """
    pins = lock.pins(config)
    listed = {entry.source: entry for entry in catalogue.entries()}
    listed |= {source: catalogue.about(source) for source in pins if source not in listed}
    found = [entry for entry in listed.values() if service in ("", entry.service)]
    known = {entry.source: pin for entry in found if (pin := pinning.known(entry.source, config))}
    there = _there(config, known, target)
    for entry in found:
        yield _model_row(entry, known.get(entry.source), there.get(entry.source) or _unpinned(entry, target))


def _model_row(entry: Entry, pin: Pin | None, here: str) -> dict[str, Any]:
    exact = pin.size if pin and all(file.size is not None for file in pin.files) else None
    return {
        "name": entry.name,
        "service": entry.service,
        "engine": entry.engine,
        "source": entry.source,
        "licence": entry.licence,
        "size_bytes": entry.size_bytes if exact is None else exact,
        "verified": entry.verified or exact is not None,
        "memory_bytes": entry.memory_bytes,
        "gated": entry.gated,
        "default": entry.default,
        "profiles": list(entry.profiles),
        "revision": pin.revision if pin else "",
        "here": here,
    }


def _there(config: Settings, known: Mapping[str, Pin], target: Target) -> dict[str, str]:
    """For each source: "yes", "partly" or "no"."""
    if holds_nothing(target):
        return {}
    if target.name == LOCAL:
        lacking = {source: store.missing(pin, config) for source, pin in known.items()}
    else:
        with visit(target, config, Stop()) as there:
            lacking = {source: there.lacks(pin) for source, pin in known.items()}
    return {source: _how_much(known[source], len(files)) for source, files in lacking.items()}


def _unpinned(entry: Entry, target: Target) -> str:
    return "yes" if target.name == LOCAL and entry.source.startswith(HUB) and cached.snapshot(entry.source) else "no"


def _how_much(pin: Pin, lacking: int) -> str:
    return "yes" if not lacking else "no" if lacking == len(pin.files) else "partly"
