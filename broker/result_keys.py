"""The key of a result: all that decides it, and nothing else. If any part of it is another, so is the key.

Not part of it are names of files and targets, where the outputs go, and whether anybody may be asked (`--offline`):
what is asked for decides what comes out, and not where it is asked.

What promises the same bytes everywhere is one result wherever it was made. What is only `close` is one per kind of
machine: its device, and the packages that compute there, which headers leave open for a target's own build to serve.
Two versions of those differ as two devices do, and who installs a new one wants to see what it does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from broker.job import Item, Job
from broker.scripts import bundle, environment
from broker.settings import own_ffmpeg
from broker.staging import safe_suffix

FORM = 1
"""Counted up when keys come to mean something else."""
ANYWHERE = ""
"""The kind of machine of what is the same everywhere."""
DEVICE = "device"
ENGINES = ("torch", "ctranslate2")
"""Packages that compute a result and that no header pins: what scripts report of them, by these names."""


class Keys:
    """Makes the keys of a job's items. `known` is False where something that decides a result is not known."""

    def __init__(self, job: Job) -> None:
        prepare = job.prepare
        self.known = all(role in job.digests for role in job.models) and not own_ffmpeg()
        self._about = {
            "form": FORM,
            "service": job.service,
            "script": _script(job.script, job.extras),
            "params": dict(job.params),
            "limits": dict(job.limits),
            "models": {role: job.digests.get(role) for role in job.models},
            "prepare": [*_script(prepare.script, ()), dict(prepare.params)] if prepare else None,
        }

    def of(self, item: Item, kind: str = ANYWHERE) -> str:
        """The key of an item's outputs, as they are made on machines of a `kind`."""
        # A suffix is all of a file's name that scripts hear of, and decoders go by it.
        own = {"input": [item.sha256, safe_suffix(item.source)], "options": dict(item.options), "kind": kind}
        return _sha256(self._about | own | {"outputs": sorted(output.name for output in item.outputs)})

    def together(self, items: Iterable[Item], on: str) -> str:
        """One name for the work on all of these, where `on` allows it."""
        return _sha256([on, sorted(self.of(item) for item in items)])


def _script(script: Path, extras: tuple[str, ...]) -> list[Any]:
    needs = environment(script, extras)
    return [script.name, bundle(script).id, needs["requires_python"], needs["dependencies"]]


def _sha256(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def kind(contract: str, versions: Mapping[str, Any]) -> str | None:
    """The kind of machine that an attempt ran on, by the `versions` it told; None where it did not tell."""
    if contract == "bytes":
        return ANYWHERE
    if DEVICE not in versions:
        return None
    return json.dumps({name: str(versions[name]) for name in (DEVICE, *ENGINES) if name in versions}, sort_keys=True)


def here_now(kind: str) -> str:
    """The kind of this machine, when it was `kind` before: somebody may have installed another version since."""
    told = json.loads(kind or "{}")
    return json.dumps(
        {**told, **{name: _version(name, told[name]) for name in ENGINES if name in told}}, sort_keys=True
    )


def _version(name: str, before: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:  # what was made with it is no worse for that
        return before


def latest(kinds: Iterable[str]) -> list[str]:
    """Of the kinds that a machine was, newest first, those that it still is: one for each set of packages."""
    found: dict[tuple[str, ...], str] = {}
    for one in kinds:
        found.setdefault(tuple(json.loads(one or "{}")), one)
    return list(found.values())
