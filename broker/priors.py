"""Priors: what is expected of a machine before anything was measured there; see `priors.toml` for where from."""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from broker.targets import LOCAL, Target
from broker.work import Work
from executors.base import Probe

CPUS = 4
"""Cores of a machine of which nobody knows how many it has."""
MOST_CPUS = 8
"""More cores than this add little to any of the services: something in each waits for one."""
FETCHED = 30e6
"""Bytes a second at which a target is taken to fetch a model that it may not have."""
NO_GPU = ("", "none", "cpu")


@dataclass(frozen=True)
class Machine:
    """What of a machine decides its speed: `kind` of target, processor cores, and whether it has a GPU."""

    kind: str
    cpus: int
    gpu: bool

    @classmethod
    def of(cls, target: Target, probe: Probe) -> Machine:
        """What is known of a target."""
        gpu = (probe.gpu or "").lower() not in NO_GPU
        if target.name == LOCAL and probe.gpu is None:
            gpu = shutil.which("nvidia-smi") is not None  # nobody asks it: that would take longer than the plan
        return cls(target.kind, probe.cpus or CPUS, gpu)


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))


def _of(work: Work) -> dict[str, float]:
    found: dict[str, Any] = _read().get(work.service, {})
    return found if found.get("unit") == work.kind.unit else {}


def run(work: Work, machine: Machine) -> float | None:
    """Seconds that the work takes on a machine whose model is loaded; None for a service of which nothing is known."""
    known = _of(work)
    if not known:
        return None
    speed = known["gpu"] if machine.gpu and "gpu" in known else known["cpu"] * min(machine.cpus, MOST_CPUS)
    heavier = work.weights / known["weights"] if work.weights and "weights" in known else 1.0
    return work.amount * heavier / speed


def start(work: Work, machine: Machine) -> float:
    """Seconds until a script is ready that never ran on the target."""
    known = _of(work)
    ready = _by_kind("start", machine.kind) + known.get("load", 0.0)
    if machine.kind == "local":  # its packages are those of this machine
        return ready
    return ready + known.get("install", 0.0) + (work.weights or 0) / FETCHED


def rate(way: str, machine: Machine) -> float:
    """Bytes a second of a target's link, `up` or `down`."""
    return _by_kind(way, machine.kind)


def _by_kind(table: str, kind: str) -> float:
    found = _read()[table]
    return float(found.get(kind, found["ssh"]))


def per_unit(work: Work, what: str) -> float | None:
    """Bytes of `out` or `payload` for a unit of the amount, or seconds to `prepare` it; None where nothing is known."""
    value = _of(work).get(what)
    if value is None:
        return None
    return 1 / value if what == "prepare" else value
