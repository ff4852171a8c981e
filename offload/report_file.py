"""A report in one file: what is in its way is said before anything is done, and it is written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from broker.errors import LimitError, UsageError
from services.base.command import UNWRITABLE
from services.base.text import near


def check(option: str, path: Path, overwrite: bool) -> None:
    """Raise UsageError where `option` names what no report can be written to."""
    if is_taken(option, path) and not overwrite:
        raise UsageError(f"{near(path.absolute())} exists", "add --overwrite to replace it")
    if path.exists() and not path.is_file():
        raise UsageError(f"{option} {path}: this is no file, and stays", "name another file")
    check_folder(option, path)


def is_taken(option: str, path: Path) -> bool:
    """Whether something is there already. Raises UsageError for a path that there cannot be."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}", "name another place") from error
    return True


def check_folder(option: str, path: Path) -> None:
    """Raise UsageError where there is no folder that `path` may be made in."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{option} {path}: there is no such folder", f"mkdir -p {near(folder)}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{option} {path}: nothing may be made in that folder", "name another place")


def write(option: str, path: Path, content: bytes, overwrite: bool) -> None:
    """Write it. Raises LimitError without room, UsageError for what came into its way meanwhile."""
    draft = path.with_name(f".{path.name[:100]}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(content)
        draft.replace(path) if overwrite else path.hardlink_to(draft)
    except OSError as error:
        what, hint = f"{option} {path}: it cannot be written: {error.strerror}", "name another file"
        raise (LimitError if error.errno in UNWRITABLE else UsageError)(what, hint) from error
    finally:
        draft.unlink(missing_ok=True)
