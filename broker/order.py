"""The order: what a target is told when it is asked to start a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from broker import models, orphans
from broker.errors import InputError, MissingHere
from broker.job import Item, Job
from broker.journal import Journal
from broker.models.pin import Pin
from broker.models.said import Tell, silent
from broker.scripts import environment
from broker.settings import Settings
from executors.base import Executor


def unchanged(job: Job, settings: Settings, journal: Journal) -> dict[str, Pin]:
    """The models of a job, as `pins`. Raises InputError for one that is not what it was when the job was made."""
    found = pins(job.models, settings, journal)
    for role, pin in found.items():
        if job.digests.get(role, pin.digest) != pin.digest:
            words = (
                f"the model {pin.name} is not what it was when the job was made, and its outputs may be of one alone"
            )
            raise InputError(words, "type the command again: it makes a new job")
    return found


def pins(wanted: Mapping[str, str], settings: Settings, journal: Journal, tell: Tell = silent) -> dict[str, Pin]:
    """The models `wanted` (role -> source), exactly. `tell` hears how far it is with what takes long.

    Raises MissingHere for one that cannot be pinned, offline naming all that are not here, and what `models.resolve`
    raises.
    """
    found, absent = {}, []

    def hashing(path: Path) -> str:
        return journal.hashes.identify(path)[1]

    for role, source in wanted.items():
        try:
            found[role] = models.resolve(source, settings, hashing=hashing, tell=tell)
        except MissingHere:
            if not settings.offline:
                raise
            absent.append(source)
    if settings.offline:
        absent += [pin.source for pin in found.values() if models.missing(pin, settings)]
    if absent:
        raise models.absent(absent)
    return found


def order(
    job: Job,
    found: Mapping[str, Pin],
    items: Sequence[Item],
    inputs: list[dict[str, Any]],
    executor: Executor,
    settings: Settings,
    ease: int = 0,
) -> dict[str, Any]:
    """The order for some of a job's items, whose `inputs` are there, with the models `found`.

    `ease` is how often memory ran out there before.
    """
    shared = executor.local_path("jobs") is not None
    about = {"id": job.id, "service": job.service, "params": dict(job.params), "limits": dict(job.limits)}
    ways = {"models": sorted(found), "ease": ease, "offline": settings.offline}
    return {
        "spec": {**about, **ways, "items": [_spec(item, entry) for item, entry in zip(items, inputs, strict=True)]},
        "inputs": inputs,
        "models": [pin.told(role, shared) for role, pin in sorted(found.items())],
        "offline": settings.offline,
        # This machine is the user's to install things on; any other gets what is missing by itself.
        "environment": environment(job.script, job.extras, build=not shared and not settings.offline),
        "client": orphans.client(settings.state_dir),
    }


def _spec(item: Item, entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"index": item.index, "input": f"in/{item.index}{entry['suffix']}", "options": dict(item.options)}


def told(found: Mapping[str, Pin]) -> dict[str, str]:
    """What a receipt says of models: role -> source, revision, and a hash of all its files' hashes."""
    return {
        f"model.{role}": f"{pin.told_source}@{pin.revision or '-'} {pin.digest[:12]}" for role, pin in found.items()
    }
