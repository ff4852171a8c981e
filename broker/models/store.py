"""Where the files of models are here: in our own store, by content, or in the caches of other programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from broker import settings as places
from broker.models.pin import HUB, File, Pin
from broker.settings import Settings
from broker.staging import file_sha256


@dataclass(frozen=True)
class Problem:
    """A file of a model that is not as its pin says. `path` is None where it is nowhere."""

    file: File
    path: Path | None
    ours: bool = False


def folder(settings: Settings) -> Path:
    """Our store: this machine's as a target, too."""
    return settings.cache_dir / "local" / "models"


def places_of(settings: Settings, source: str, revision: str, path: str, sha256: str) -> Iterator[Path]:
    """Where a file is, as far as names and folders tell, our store first."""
    usual = places.usual()
    candidates = [folder(settings) / sha256]
    if source.startswith(HUB):
        for home in (cache / repository(source) for cache in usual.hub_caches):
            candidates += [home / "snapshots" / revision / path, home / "blobs" / sha256]
    elif "://" in source:
        candidates += [cache / path for cache in usual.file_caches]
    return (place for place in candidates if place.is_file())


def repository(source: str) -> str:
    """The folder of a repository in a cache of the hub's client."""
    return f"models--{source.removeprefix(HUB).partition('@')[0].replace('/', '--')}"


def find(settings: Settings, source: str, revision: str, path: str, sha256: str) -> Path | None:
    """Where the content of a file is, checked unless it is our own; None where it is nowhere."""
    ours = folder(settings)
    found = places_of(settings, source, revision, path, sha256)
    return next((place for place in found if place.parent == ours or file_sha256(place) == sha256), None)


def here(pin: Pin, settings: Settings) -> dict[str, Path]:
    """The files of a model that are here, by sha256. They are not read: that is `verify`."""
    found = {}
    for file in pin.files:
        place = pin.paths.get(file.path) or _first(pin, file, settings)
        if place:
            found[file.sha256] = place
    return found


def _first(pin: Pin, file: File, settings: Settings) -> Path | None:
    return next(places_of(settings, pin.source, pin.revision, file.path, file.sha256), None)


def missing(pin: Pin, settings: Settings) -> list[File]:
    """The files of a model that are not here."""
    found = here(pin, settings)
    return [file for file in pin.files if file.sha256 not in found]


def verify(pin: Pin, settings: Settings) -> Iterator[Problem]:
    """Read a model's files; yields what is wrong."""
    for file in pin.files:
        place = _first(pin, file, settings)
        if place is None:
            yield Problem(file, None)
        elif file_sha256(place) != file.sha256:
            yield Problem(file, place, place.parent == folder(settings))
