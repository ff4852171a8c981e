"""The catalogue: models that have a name, and what can be said of any other."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from broker.errors import MissingHere, UsageError
from broker.models.pin import HUB, PATH
from executors.options import at_home

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
REVISION = re.compile(r"@[\w./-]+")
WEB = re.compile(r"https?://", re.IGNORECASE)
SPELLED = re.compile(r"[!-~]+")


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

    @property
    def placed(self) -> bool:
        """Whether it is known by its place alone: a path, or an address. Its name is then the file's."""
        return not self.service and not self.source.startswith(HUB)

    @property
    def word(self) -> str:
        """What to type for it: `find` finds it by that."""
        return self.source if self.placed else self.name


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
        UsageError: it is none of these; says which names are near. Or it is an address that may hold a secret.
    """
    if WEB.match(word):
        return about(_address(word))
    name, at, revision = word.partition("@")
    named = _named(service, name, engine)
    if named and (not at or (named.source.startswith(HUB) and REVISION.fullmatch(at + revision))):
        return replace(named, name=named.name + at + revision, source=named.source + at + revision)
    path = at_home(word.removeprefix(PATH))
    if word and path.exists():
        return Entry(word, f"{PATH}{path.absolute()}")
    if REPOSITORY.fullmatch(word.removeprefix(HUB)) and not word.startswith("."):
        return about(HUB + word.removeprefix(HUB))
    raise _unknown(service, word, engine)


def _address(word: str) -> str:
    """A file's address. It will be written down in many places: one that may hold a secret is refused, and not said."""
    try:
        parts = urlsplit(word)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or not SPELLED.fullmatch(word):
        raise UsageError("that is no address of a file; what is not plain is written as %20 and the like")
    if "@" in parts.netloc or "?" in word or "#" in word:
        said = "a model's address is written down, so it may hold no user, no password, and nothing after ? or #"
        raise UsageError(said, "download the file yourself, and name it: --model ./FILE")
    return parts.geturl()


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
    return Entry(source.removeprefix(HUB) if source.startswith(HUB) else _file_name(source), source)


def _file_name(source: str) -> str:
    """The last word of a path, or of an address: the rest is nobody else's business."""
    path = source.removeprefix(PATH) if source.startswith(PATH) else source.partition("?")[0]
    return Path(path).name


def absent(entries: Sequence[Entry], why: str = "") -> MissingHere:
    """The error that models are not here: names each, its size, and what fetches them."""
    words = shlex.join(entry.word for entry in entries)
    what = ", ".join(f"{entry.name} ({size(entry)})" for entry in entries)
    verb = "is" if len(entries) == 1 else "are"
    why = why or "no network may be used (--offline)"
    return MissingHere(f"{what} {verb} not here, and {why}", f"offload models prefetch {words}")


def size(entry: Entry) -> str:
    """How big a model is, as far as its entry knows."""
    if entry.size_bytes is None:
        return "size unknown"
    return f"{'' if entry.verified else 'about '}{entry.size_bytes / 1e6:.0f} MB"
