"""The catalogue: models that have a name, and what can be said of any other."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from broker.errors import MissingHere, UsageError
from broker.models.pin import HUB, PATH

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
REVISION = re.compile(r"@[\w./-]+")


@dataclass(frozen=True)
class Entry:
    """What is known of a model. One that is not in the catalogue has a name and a source only.

    `source` is as `broker.models` says; `frame` is how its own preprocessor sizes pictures: "384x384" squashes to
    that, "224" brings the short side to 224 and cuts out the middle, "" is unknown. `size_bytes` and `memory_bytes` are
    rough unless `verified`. `sha256` is that of a source which is one file, where it was published.
    """

    name: str
    source: str
    service: str = ""
    engine: str = ""
    sha256: str = ""
    licence: str = ""
    size_bytes: int | None = None
    memory_bytes: int | None = None
    frame: str = ""
    profiles: tuple[str, ...] = ()
    verified: bool = False
    gated: bool = False
    default: bool = False
    trust_remote_code: bool = False


@cache
def entries() -> tuple[Entry, ...]:
    """All entries of the catalogue, in its order."""
    text = Path(__file__).with_name("catalogue.toml").read_text("utf-8")
    return tuple(_entry(table) for table in tomllib.loads(text)["model"])


def _entry(table: dict[str, Any]) -> Entry:
    return Entry(**table | {"profiles": tuple(table.get("profiles", ()))})


def find(service: str, word: str, engine: str = "") -> Entry:
    """The model that `word` means to `service` ("" is any): a name, a path, a repository, or a source in full.

    Raises:
        UsageError: it is none of these; says which names are near.
    """
    name, at, revision = word.partition("@")
    named = _named(service, name, engine)
    if named and (not at or (named.source.startswith(HUB) and REVISION.fullmatch(at + revision))):
        return replace(named, name=named.name + at + revision, source=named.source + at + revision)
    path = Path(word.removeprefix(PATH)).expanduser()
    if word and path.exists():
        return Entry(word, f"{PATH}{path.absolute()}")
    if word.startswith(("http://", "https://")):
        return about(word)
    if REPOSITORY.fullmatch(word.removeprefix(HUB)) and not word.startswith("."):
        return about(HUB + word.removeprefix(HUB))
    raise _unknown(service, word, engine)


def _named(service: str, name: str, engine: str) -> Entry | None:
    """The entry of that name. An engine's own models carry its name, which need not be said twice."""
    fitting = _fitting(service, engine)
    names = (name, f"{engine}-{name}") if engine else (name,)
    return next((entry for entry in fitting if entry.name in names), None)


def _fitting(service: str, engine: str) -> list[Entry]:
    return [entry for entry in entries() if service in ("", entry.service) and engine in ("", entry.engine)]


def _unknown(service: str, word: str, engine: str) -> UsageError:
    names = [_short(entry, engine) for entry in _fitting(service, engine)]
    near = get_close_matches(word, names, 3, 0.4) or names
    what = f"there is no model {word!r}" + (f" for {service}" if service else "")
    return UsageError(f"{what}, nor such a path here; near it: {', '.join(near)}", "offload models ls")


def _short(entry: Entry, engine: str) -> str:
    return entry.name.removeprefix(f"{engine}-") if engine else entry.name


def default(service: str, engine: str = "") -> Entry:
    """The model a service uses when none is named. Raises LookupError when the catalogue has none."""
    found = next((entry for entry in _fitting(service, engine) if entry.default), None)
    if found is None:
        raise LookupError(f"the catalogue has no default model for {service} {engine}".rstrip())
    return found


def about(source: str) -> Entry:
    """The entry of a source, or of its repository at that revision; else one of a name, by which `find` finds it."""
    repository, at, revision = source.partition("@")
    found = next((entry for entry in entries() if entry.source == repository), None)
    if found:
        return replace(found, name=found.name + at + revision, source=source)
    return Entry(Path(source).name if source.startswith(PATH) else source.removeprefix(HUB), source)


def absent(entries: Sequence[Entry], why: str = "") -> MissingHere:
    """The error that models are not here: names each, its size, and what fetches them."""
    names = [entry.name for entry in entries]
    what = ", ".join(f"{entry.name} ({size(entry)})" for entry in entries)
    verb = "is" if len(entries) == 1 else "are"
    why = why or "no network may be used (--offline)"
    return MissingHere(f"{what} {verb} not here, and {why}", f"offload models prefetch {' '.join(names)}")


def size(entry: Entry) -> str:
    """How big a model is, as far as its entry knows."""
    if entry.size_bytes is None:
        return "size unknown"
    return f"{'' if entry.verified else 'about '}{entry.size_bytes / 1e6:.0f} MB"
