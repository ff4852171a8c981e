"""From the words of a command line to inputs with destinations, every mistake found before anything starts."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from broker.errors import UsageError
from broker.job import Input
from services.base.service import Params, Service


@dataclass(frozen=True)
class Rejected:
    """An input that cannot be one, and why. The others go on."""

    path: Path
    error: str


def expand(words: Sequence[str], service: Service) -> tuple[list[Path], list[Rejected]]:
    """Files named by `words`: files, folders (their media, not deeper) and patterns the shell left alone."""
    paths: list[Path] = []
    rejected: list[Rejected] = []
    for word in words:
        for found in _expand(word, service):
            (rejected if isinstance(found, Rejected) else paths).append(found)  # type: ignore[arg-type]
    return paths, rejected


def _expand(word: str, service: Service) -> Iterator[Path | Rejected]:
    path = Path(word)
    if path.is_dir():
        yield from _media(path, service) or [Rejected(path, "there is no media in this folder")]
    elif not path.exists() and glob.has_magic(word) and (matches := sorted(glob.glob(word))):  # noqa: PTH207
        yield from (_checked(Path(match)) for match in matches)
    else:
        yield _checked(path)


def _media(folder: Path, service: Service) -> list[Path | Rejected]:
    ours = f".{service.label}"
    return [
        _checked(path)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in service.accepts and not path.name.startswith(".") and not path.stem.endswith(ours)
    ]


def _checked(path: Path) -> Path | Rejected:
    try:
        if not path.is_file():
            reason = "is not a file" if path.exists() else "there is no such file"
            return Rejected(path, reason)
        with path.open("rb"):
            return path.absolute()
    except OSError as error:
        return Rejected(path, f"cannot be read: {error.strerror}")


def assign(paths: Sequence[Path], output: str | None, service: Service, params: Params) -> list[Input]:
    """Give every input its destinations.

    Raises UsageError when `output` cannot take them, two would have one name, or one would be an input's.
    """
    inputs = [_input(path, _destination(path, output, len(paths), service), service, params) for path in paths]
    _no_name_twice(inputs)
    _no_input_replaced(inputs)
    return inputs


def _input(path: Path, dest: Path, service: Service, params: Params) -> Input:
    return Input(path, service.outputs(dest, params), service.options(dest))


def _destination(path: Path, output: str | None, count: int, service: Service) -> Path:
    suffix = path.suffix.lower() if path.suffix.lower() in service.makes else service.makes[0]
    name = f"{path.stem}.{service.label}{suffix}"
    if output is None:
        return path.with_name(name)
    if output.endswith(os.sep) or Path(output).is_dir():
        return Path(output).absolute() / name
    if count > 1:
        raise UsageError(f"{count} inputs cannot all become {output}", f"name a folder: -o {output}/")
    if Path(output).suffix.lower() not in service.makes:
        raise UsageError(f"{output}: the output must end in {', '.join(service.makes)}")
    return Path(output).absolute()


def _no_name_twice(inputs: Sequence[Input]) -> None:
    owner: dict[Path, Path] = {}
    for entry in inputs:
        for dest in entry.outputs.values():
            other = owner.setdefault(dest.parent.resolve() / dest.name, entry.source)
            if other is not entry.source:
                raise UsageError(
                    f"{other} and {entry.source} would both become {dest}", "rename one, or run them apart"
                )


def _no_input_replaced(inputs: Sequence[Input]) -> None:
    sources = [entry.source for entry in inputs]
    for dest in (dest for entry in inputs for dest in entry.outputs.values() if dest.exists()):
        if any(dest.samefile(source) for source in sources):
            raise UsageError(f"{dest} is an input: it would be lost", "name another output with -o")


def existing(entry: Input) -> list[Path]:
    """Destinations of an input that exist already."""
    return [dest for dest in entry.outputs.values() if os.path.lexists(dest)]


def make_folders(inputs: Sequence[Input]) -> None:
    """Make sure results can be stored. Raises UsageError when a destination's folder cannot be written."""
    for folder in {dest.parent for entry in inputs for dest in entry.outputs.values()}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot create the folder {folder}: {error.strerror}") from error
        if not os.access(folder, os.W_OK):
            raise UsageError(f"cannot write in {folder}", "name another folder with -o FOLDER/")
