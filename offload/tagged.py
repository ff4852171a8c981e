"""What has been tagged so far: the results of `tag` that are still there, and the clips they tell of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.broker import Broker
from broker.errors import InputError
from services import tag

SERVICE = tag.SERVICE.name
ENDING = f".{tag.SERVICE.label}{tag.SERVICE.makes[0]}"
ALL = 2**31
"""More jobs than a journal has."""


@dataclass(frozen=True)
class Tagged:
    """A clip, the file of its tags, what that says, and the source of the model that made it."""

    clip: Path
    tags: Path
    found: Mapping[str, Any]
    source: str

    @property
    def weights(self) -> str:
        """The sha256 of the weights that its embeddings are of."""
        return str(self.found["weights"])

    @property
    def embeddings(self) -> dict[str, Any]:
        """What searching takes: no name, and no path."""
        told = self.found["embeddings"]
        return {"weights": self.weights, **{name: told[name] for name in ("dim", "times", "frames")}}


def everything(broker: Broker) -> tuple[list[Tagged], list[Path]]:
    """All that the journal knows to have been tagged, by the latest tags of each clip; and the clips that are gone."""
    found: dict[Path, Tagged] = {}
    seen: set[Path] = set()
    for clip, tags, source in _published(broker):
        seen.add(clip)
        if clip not in found and clip.is_file() and (entry := _read(clip, tags, source)):
            found[clip] = entry
    return list(found.values()), sorted(seen - found.keys())


def among(broker: Broker, paths: Iterable[Path]) -> list[Tagged]:
    """What has been tagged of these clips, files of tags, and folders.

    Raises InputError for one of which nothing was tagged.
    """
    known = {tags: (clip, source) for clip, tags, source in reversed([*_published(broker)])}
    by_clip = {clip: tags for tags, (clip, _) in known.items()}
    found: dict[Path, Tagged] = {}
    for path in paths:
        files = sorted(path.rglob(f"*{ENDING}")) if path.is_dir() else [_tags_of(path, by_clip)]
        entries = [entry for tags in files if (entry := _read(*_told(tags, known)))]
        if not entries:
            raise InputError(f"{path}: nothing of this was tagged", f"offload {SERVICE} {path}")
        found |= {entry.tags: entry for entry in entries}
    return list(found.values())


def _published(broker: Broker) -> Iterator[tuple[Path, Path, str]]:
    """Clip, tags and the model's source of everything that was tagged, the latest first."""
    for job in broker.journal.jobs(ALL):
        for item in job.items if job.service == SERVICE else ():
            for output in item.outputs:
                if output.published:
                    yield item.source, output.dest, job.models.get("model", "")


def _tags_of(path: Path, by_clip: Mapping[Path, Path]) -> Path:
    if path.suffix == tag.SERVICE.makes[0]:
        return path
    return by_clip.get(path, path.with_name(path.stem + ENDING))


def _told(tags: Path, known: Mapping[Path, tuple[Path, str]]) -> tuple[Path, Path, str]:
    """The clip and the model's source of a file of tags, from the journal; else a file beside it of its name."""
    if tags in known:
        return known[tags][0], tags, known[tags][1]
    stem = tags.name.removesuffix(ENDING)
    beside = (path for path in sorted(tags.parent.glob("*")) if path.stem == stem)
    return next((path for path in beside if path.suffix.lower() in tag.SERVICE.accepts), tags), tags, ""


def _read(clip: Path, tags: Path, source: str) -> Tagged | None:
    """What a file of tags says; None for one that is not there, or is none."""
    try:
        found = json.loads(tags.read_text("utf-8"))
        entry = Tagged(clip, tags, found, source or found["source"])
        return entry if entry.weights and entry.embeddings else None
    except (OSError, ValueError, TypeError, KeyError):  # whatever else a person keeps under such a name
        return None
