"""The inputs of a wish: where each is, under which name, and what becomes of it in the job's folder."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from broker.errors import InputError
from broker.job import Input
from broker.settings import Settings
from broker.staging import NO_LINK, sync
from server import parameters, wishes
from server.blobs import Blobs
from server.problems import NotFound, Refusal
from services.base import inputs as select
from services.base.service import Params, Service
from services.base.text import JOINERS, UNSEEN, plain

NAME_BYTES = 200
"""Longest name of an input: there is room for what its outputs are called."""

OUT = "out"
"""Where the outputs of a job go, in its folder."""

Sent = wishes.Upload | wishes.Local | wishes.Planned


@dataclass(frozen=True)
class Source:
    """An input: an uploaded `blob` or a file here, `path`; neither for one that is yet to come.

    `size` is None where only the file tells.
    """

    name: str
    blob: Path | None = None
    path: Path | None = None
    sha256: str = ""
    size: int | None = None


def found(blobs: Blobs, settings: Settings, service: Service, inputs: Sequence[Sent]) -> list[Source]:
    """Where the inputs of a job of `service` are.

    Raises Refusal for what was not uploaded, and for a file here where those may not be named; InputError for one that
    is none.
    """
    return [
        _here(settings, service, entry.path) if isinstance(entry, wishes.Local) else _sent(blobs, entry)
        for entry in inputs
    ]


def _sent(blobs: Blobs, entry: wishes.Upload | wishes.Planned) -> Source:
    name = cleaned(entry.name)
    try:
        blob = blobs.path(entry.blob) if entry.blob else None
    except NotFound as error:
        if isinstance(entry, wishes.Upload):
            what = f"{plain(entry.name)}: no file of sha256 {entry.blob} was uploaded"
            hint = "upload it with /v1/blobs, and ask again"
            raise Refusal(409, what, hint, exit_code=InputError.exit_code) from error
        blob = None
    if isinstance(entry, wishes.Planned):
        return Source(name, blob, None, entry.blob or "", entry.size)
    return Source(name, blob, None, entry.blob, blob.stat().st_size if blob else 0)


def _here(settings: Settings, service: Service, word: str) -> Source:
    if not settings.serve_paths:
        said = "files on the server's machine may not be named"
        raise Refusal(403, said, "upload it with /v1/blobs, or set OFFLOAD_SERVE_PATHS=1 for the server")
    path = Path(word)
    if "\0" in word or not path.is_absolute():
        raise InputError(f"{plain(word)}: this is no absolute path")
    checked = select.checked(path)
    if isinstance(checked, select.Rejected):
        raise InputError(f"{plain(path)}: {checked.error}")
    _check_fit(settings, service, path)
    return Source(path.name, path=path)


def _check_fit(settings: Settings, service: Service, path: Path) -> None:
    """Refuse what is no input: it could be had again as it is, and a token, or a key, is a file as well."""
    real = path.resolve()
    for folder in (settings.state_dir, settings.config_dir, settings.cgpu_config_dir):
        if real.is_relative_to(folder.resolve()):
            raise Refusal(403, f"{plain(path)}: files in {folder} may not be named", "upload it with /v1/blobs")
    if real.suffix.lower() not in service.accepts:
        takes = ", ".join(sorted(service.accepts))
        raise InputError(f"{plain(path)}: of files here, {service.name} takes {takes}", "upload it with /v1/blobs")


def cleaned(name: str) -> str:
    """A name for a file, made of one that a client sent: its last part, without what nobody can see."""
    word = name.replace("\\", "/").rpartition("/")[2]
    word = "".join(char for char in word if char in JOINERS or unicodedata.category(char) not in UNSEEN).strip()
    stem, suffix = os.path.splitext(word)  # noqa: PTH122 - a Path knows no empty name
    while len(os.fsencode(stem + suffix)) > NAME_BYTES:
        stem, suffix = (stem[:-1], suffix) if stem else (suffix[:NAME_BYTES], "")
    return stem + suffix if (stem + suffix).strip(".") else "input"


def places(sources: Sequence[Source], folder: Path) -> list[Path]:
    """The path of each input of a job: in its folder, by its name; each in a place of its own where names are equal."""
    names = [unicodedata.normalize("NFC", source.name).casefold() for source in sources if source.path is None]
    apart = len(set(names)) < len(names)
    return [
        source.path or (folder / "in" / f"{index}" / source.name if apart else folder / "in" / source.name)
        for index, source in enumerate(sources)
    ]


def laid(sources: Iterable[Source], paths: Iterable[Path]) -> None:
    """Link what was uploaded to its place. Raises OSError."""
    for source, path in zip(sources, paths, strict=True):
        if source.blob is not None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _link(source.blob, path)


def _link(blob: Path, path: Path) -> None:
    try:
        os.link(blob, path)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        shutil.copyfile(blob, path)
        sync(path)


def destinations(paths: Sequence[Path], out: Path, service: Service, params: Params) -> list[Input]:
    """The inputs with their outputs in `out`; each in a folder of its own there where two would be the same file."""
    assigned = partial(select.assign, paths, f"{out}{os.sep}", service, parameters.placed(params, out))
    together = assigned()
    dests = [str(dest).casefold() for entry in together for dest in entry.outputs.values()]
    return together if len(set(dests)) == len(dests) else assigned(apart=True)


def command(asked: wishes.Asked, service: Service, inputs: Sequence[Input], folder: Path) -> list[str]:
    """What to type in a job's folder to have the same."""
    out = {dest.parent for entry in inputs for dest in entry.outputs.values()}
    apart = [] if out == {folder / OUT} else ["--apart"]
    sources = [entry.source for entry in inputs]
    words = [str(path.relative_to(folder) if path.is_relative_to(folder) else path) for path in sources]
    return ["offload", service.name, *_params(asked), *_terms(asked), "-o", f"{OUT}/", *apart, *words]


def _params(asked: wishes.Asked) -> Iterator[str]:
    for name, value in asked.params.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True and name in parameters.PLACED:
            yield f"{flag}={OUT}/"
        elif value is True:
            yield flag
        elif value is not None and value is not False:
            yield f"{flag}={','.join(map(str, value)) if isinstance(value, list) else value}"


def _terms(asked: wishes.Asked) -> Iterator[str]:
    flags = {"--no-fallback": not asked.fallback, "--no-cache": not asked.cache, "--spread": asked.spread}
    yield from (flag for flag, given in flags.items() if given)
    if asked.deadline is not None:
        yield f"--deadline={asked.deadline:.0f}s"
    for name, value in (("on", asked.on), ("when", asked.when), ("priority", asked.priority)):
        if value != wishes.Asked.model_fields[name].default:
            yield f"--{name}={value}"
