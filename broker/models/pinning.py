"""Pinning: the first use of a model settles what it is, exactly."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from broker.errors import InputError
from broker.models import catalogue, lock
from broker.models.catalogue import Entry
from broker.models.choice import choose
from broker.models.pin import HUB, PATH, File, Pin
from broker.models.said import Tell, silent
from broker.settings import Settings
from broker.staging import file_sha256

NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]")

Hashing = Callable[[Path], str]


def resolve(
    source: str, settings: Settings, name: str = "", hashing: Hashing = file_sha256, tell: Tell = silent
) -> Pin:
    """What exactly a source is: as its pin says, if it has one, else as it is now, which is its pin from then on.

    A `path:` is the user's own and is looked at each time, by `hashing`. `tell` hears of a file that must be fetched to
    learn what it is. It may be interrupted at any moment.

    Raises:
        MissingHere: it is not pinned and cannot be now: no network, or nobody answers.
        UsageError: there is no such repository, revision or file, or it holds no weights.
        ConfigError: it is gated, or the lock file or our store cannot be used.
        IntegrityError: what the hub says of it cannot be.
        LimitError: there is no room for what must be fetched to learn what it is.
        InputError: there is nothing at a `path:`.
    """
    if source.startswith(PATH):
        return _of_path(source, Path(source.removeprefix(PATH)), hashing)
    return lock.find(settings, source) or lock.add(settings, _now(source, settings, name, tell))


def known(source: str, settings: Settings) -> Pin | None:
    """What a source is, as far as that is settled already. Asks nobody, and settles nothing."""
    return lock.find(settings, source) or _published(catalogue.about(source))


def _published(entry: Entry) -> Pin | None:
    """The pin of one file whose hash was published with its address."""
    file = File(_file_name(entry.source), entry.sha256, url=entry.source)
    return Pin(entry.source, entry.name, "", (file,)) if entry.sha256 else None


def _now(source: str, settings: Settings, name: str, tell: Tell) -> Pin:
    entry = catalogue.about(source)
    name = name or entry.name
    if source.startswith(HUB):
        from broker.models import hub  # its client is slow to import, and need not be installed

        return hub.pin(source, name, settings, tell)
    published = _published(entry)
    if published:
        return published
    if settings.offline:
        raise catalogue.absent([entry])
    from broker.models import taking  # slow to import, and rarely needed

    sha256, size = taking.download(settings, source, name, tell)
    return Pin(source, name, "", (File(_file_name(source), sha256, size, source),))


def _file_name(source: str) -> str:
    return NOT_PLAIN.sub("_", source.rpartition("/")[2]).lstrip(".") or "model"


def _of_path(source: str, path: Path, hashing: Hashing) -> Pin:
    try:
        paths = own_files(path)
        files = tuple(File(name, hashing(one), one.stat().st_size) for name, one in sorted(paths.items()))
    except OSError as error:
        raise InputError(f"the model {path} cannot be read: {error.strerror}", "offload models ls") from error
    if not files:
        raise InputError(f"{path} holds no model: there is no file of weights in it")
    return Pin(source, path.name, "", files, paths)


def own_files(path: Path) -> dict[str, Path]:
    """The files of the model at a `path:`, by their names in it. Raises OSError."""
    return _files(path) if path.is_dir() else {_file_name(path.name): path}


def _files(folder: Path) -> dict[str, Path]:
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: there[name] for name in choose(there, code=True)}
