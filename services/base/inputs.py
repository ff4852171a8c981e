"""From the words of a command line to inputs with destinations, every mistake found before anything starts."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from broker.errors import UsageError
from broker.job import Input
from services.base.service import Params, Service
from services.base.text import near, shell

NAME_BYTES = 255
"""Longest file name of the usual file systems."""


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
    path = Path(word).absolute()
    if word and os.path.isdir(path):  # noqa: PTH112 - unlike Path's, this never raises
        yield from _folder(path, service)
    elif glob.has_magic(word) and not os.path.lexists(path):
        yield from _pattern(word, service)
    else:
        yield checked(path) if word else Rejected(Path("''"), "an empty name names no file")


def _folder(folder: Path, service: Service) -> list[Path | Rejected]:
    try:
        found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in service.accepts]
    except OSError as error:
        return [Rejected(folder, f"this folder cannot be read: {_reason(error)}")]
    media = [checked(path) for path in found if not path.name.startswith(".") and not _is_result(path, service)]
    return media or [Rejected(folder, f"there is nothing to {service.name} in this folder")]


def _pattern(word: str, service: Service) -> list[Path | Rejected]:
    found = [Path(match).absolute() for match in sorted(glob.glob(word, recursive=True))]  # noqa: PTH207
    files = [path for path in found if not path.is_dir() and not _is_result(path, service)]
    return [checked(path) for path in files] or [Rejected(Path(word), "no file matches this")]


def _is_result(path: Path, service: Service) -> bool:
    return bool(service.label) and f".{service.label}." in path.name


def checked(path: Path) -> Path | Rejected:
    """A file that is there and can be read, or why it is none."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Rejected(path, "this is not a file")
        with path.open("rb"):
            return path
    except FileNotFoundError:
        return Rejected(path, "a link that leads nowhere" if path.is_symlink() else "there is no such file")
    except OSError as error:
        return Rejected(path, f"it cannot be read: {_reason(error)}")


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def assign(
    paths: Sequence[Path], output: str | None, service: Service, params: Params, apart: bool = False
) -> list[Input]:
    """Give every input its destinations; `apart`, in folders of its own, named 0, 1, ..., below where they would be.

    Raises UsageError when `output` cannot take them, or one would be an input's.
    """
    if apart and (output is None or not _is_folder(output)):
        raise UsageError("--apart makes a folder for each input in one that is named", "name it: -o FOLDER/")
    inputs = [_input(path, _destination(path, output, service), service, params) for path in paths]
    inputs = [_in_folder(f"{index}", entry) for index, entry in enumerate(inputs)] if apart else inputs
    if inputs and output is not None and not _is_folder(output):
        _is_made(Path(output), inputs[0], params)
    for dest in (dest for entry in inputs for dest in entry.outputs.values()):
        _can_become(dest, paths)
    return inputs


def check_one_file(output: str | None, count: int) -> None:
    """Raise UsageError when `output` is one file, and `count` inputs are more than one."""
    if output is not None and count > 1 and not _is_folder(output):
        raise UsageError(f"{count} inputs cannot all become {output}", "name a folder: -o FOLDER/")


def _is_folder(output: str) -> bool:
    return output.endswith(os.sep) or os.path.isdir(output)  # noqa: PTH112 - unlike Path's, this never raises


def _input(path: Path, dest: Path, service: Service, params: Params) -> Input:
    return Input(path, service.outputs(dest, params), service.options(dest))


def _in_folder(name: str, entry: Input) -> Input:
    return replace(entry, outputs={key: dest.parent / name / dest.name for key, dest in entry.outputs.items()})


def _destination(path: Path, output: str | None, service: Service) -> Path:
    if output is None:
        return path.with_name(_name(path, service))
    if _is_folder(output):
        return Path(output).absolute() / _name(path, service)
    if Path(output).suffix.lower() not in service.makes:
        wanted = f"a file must end in {' or '.join(service.makes)}, a new folder in {os.sep}"
        raise UsageError(f"-o {output}: {wanted}")
    return Path(output).absolute()


def _name(path: Path, service: Service) -> str:
    """Name of an output whose input is `path`; a stem too long for both is cut."""
    suffix = path.suffix.lower() if path.suffix.lower() in service.makes else service.makes[0]
    stem, end = path.stem, f".{service.label}{suffix}" if service.label else suffix
    while len(os.fsencode(stem + end)) > NAME_BYTES:
        stem = stem[:-1]
    return stem + end


def _is_made(output: Path, entry: Input, params: Params) -> None:
    """Raise UsageError when a file that was named as output has another format than those that were asked for."""
    dests = list(entry.outputs.values())
    if output.suffix.lower() not in {dest.suffix.lower() for dest in dests}:
        made = " and ".join(map(near, dests))
        ways = [shell(["-o", str(output.with_suffix(dests[0].suffix))]), formats(params, [output])]
        raise UsageError(f"-o {output}: what was asked for would become {made}", " or ".join(filter(None, ways)))


def formats(params: Params, outputs: Iterable[Path]) -> str:
    """The option that asks for the formats of these outputs; empty where the service has none."""
    words = ",".join(output.suffix.lower().removeprefix(".") for output in outputs)
    return f"-f {words}" if "format" in type(params).model_fields else ""


def distinct(inputs: Sequence[Input]) -> tuple[list[Input], list[Rejected]]:
    """The inputs whose outputs are theirs alone, and those of which several would become the same file.

    Raises UsageError when there are none of the former, or one is given twice.
    """
    clashes = list(_clashes(inputs))
    if twice := [path for path, other, _ in clashes if path == other]:
        raise UsageError(f"{near(twice[0])} is given twice", "name it once")
    why = {path: _clash(other, dest) for path, other, dest in clashes}
    kept = [entry for entry in inputs if entry.source not in why]
    if clashes and not kept:
        path, other, dest = clashes[0]
        both = f"{near(other)} and {near(path)} would both become {near(dest)}"
        raise UsageError(both, "-o FOLDER/ --apart makes a folder for each; or do them one by one")
    return kept, [Rejected(path, error) for path, error in why.items()]


def _clashes(inputs: Sequence[Input]) -> Iterator[tuple[Path, Path, Path]]:
    """Each input that would become the same file as another, that other, and the file."""
    owner: dict[str, Path] = {}
    for source, dest in ((entry.source, dest) for entry in inputs for dest in entry.outputs.values()):
        # Not the destination's own link: publishing replaces a link, it does not follow it.
        place = os.path.join(os.path.realpath(dest.parent), dest.name)  # noqa: PTH118
        other = owner.setdefault(place, source)
        if other is not source:
            yield source, other, dest
            yield other, source, dest


def _clash(other: Path, dest: Path) -> str:
    return f"like {near(other)} it would become {near(dest)}; give it an output of its own with -o"


def _can_become(dest: Path, sources: Sequence[Path]) -> None:
    try:
        found = dest.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UsageError(f"{near(dest)} cannot be written: {_reason(error)}", "name another output with -o") from error
    if stat.S_ISDIR(found.st_mode):
        raise UsageError(f"{near(dest)} is a folder", "name another output with -o")
    if any(os.path.samestat(found, source.stat()) for source in sources):
        raise UsageError(f"{near(dest)} is an input: it would be lost", "name another output with -o")


def existing(entry: Input) -> list[Path]:
    """Destinations of an input where something is already."""
    return [dest for dest in entry.outputs.values() if os.path.lexists(dest)]


def by_existing(inputs: Sequence[Input], params: Params) -> tuple[list[Input], list[Input], list[Rejected]]:
    """The inputs with none of their outputs there, those with all of them, and those with a part of them.

    Raises UsageError when all inputs are of the last kind.
    """
    there = [(entry, existing(entry)) for entry in inputs]
    none = [entry for entry, taken in there if not taken]
    every = [entry for entry, taken in there if len(taken) == len(entry.outputs)]
    partly = [(entry, *_half(entry, taken, params)) for entry, taken in there if 0 < len(taken) < len(entry.outputs)]
    if partly and len(partly) == len(inputs):
        raise UsageError(*partly[0][1:])
    return none, every, [Rejected(entry.source, f"{what}: {ways}") for entry, what, ways in partly]


def _half(entry: Input, taken: Sequence[Path], params: Params) -> tuple[str, str]:
    """Which outputs exist and which do not, and what to type."""
    missing = [dest for dest in entry.outputs.values() if dest not in taken]
    what = f"{near(taken[0])} exists, but not {' and '.join(map(near, missing))}"
    anew, narrow = "--overwrite in place of --skip-existing makes all anew", formats(params, missing)
    return what, f"{narrow} makes what is missing, {anew}" if narrow else anew


def check_folders(inputs: Sequence[Input], output: str | None, make: bool, apart: bool = False) -> None:
    """Make sure results can be stored: a folder asked for as FOLDER/ may be new, and what is `apart` there.

    With `make`, the new one is made, when all others are there. Raises UsageError when one cannot be written.
    """
    new = Path(output).absolute() if output is not None and (apart or output.endswith(os.sep)) else None
    folders = dict.fromkeys(dest.parent for entry in inputs for dest in entry.outputs.values())
    missing = {at for at in folders if new == (at.parent if apart else at) and not os.path.lexists(at)}
    for folder in (at for at in folders if at not in missing):
        if not os.path.isdir(folder):  # noqa: PTH112 - unlike Path's, this never raises
            raise UsageError(f"there is no folder {near(folder)}", f"mkdir -p {shell([str(folder)])}")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(f"the folder {near(folder)} cannot be written", "name another one with -o FOLDER/")
    for folder in missing if make else ():
        _make(folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"the folder {near(folder)} cannot be made: {_reason(error)}") from error
