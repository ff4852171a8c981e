"""Where things lie under a target's root, and the few file operations that must not go half-way."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import Any, Dict

_JOB = re.compile(r"[a-z0-9]{4,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SCRIPT = re.compile(r"[A-Za-z0-9]+/[A-Za-z0-9_]+\.py")
_SUFFIX = re.compile(r"(\.[a-z0-9]{1,15})?")
_ROLE = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MODEL_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}){0,9}")
_CHECKPOINT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

FULL = (errno.ENOSPC, errno.EDQUOT)
RESERVE_BYTES = 64 * 1024


class RunnerError(Exception):
    """Something the caller must hear of by kind."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def job_dir(root: Path, job: str) -> Path:
    """Directory of a job. Raises ValueError for a name that is not a job's."""
    return root / "jobs" / _matching(_JOB, job, "job")


def blob_path(root: Path, sha256: str) -> Path:
    """File of a blob. Raises ValueError for what is not a sha256."""
    return root / "blobs" / _matching(_SHA256, sha256, "sha256")


def parts_dir(root: Path, sha256: str) -> Path:
    """Directory of a blob's parts on their way."""
    return root / "parts" / _matching(_SHA256, sha256, "sha256")


def content_path(root: Path, sha256: str) -> Path:
    """File of a model's content."""
    return root / "models" / _matching(_SHA256, sha256, "sha256")


def script_path(root: Path, script: str) -> Path:
    """File of a script, `<hash>/<name>.py`."""
    return root / "scripts" / _matching(_SCRIPT, script, "script")


def input_name(index: int, suffix: str) -> str:
    """Name of an input in its job: nothing of what a user called it but a plain suffix."""
    return "%d%s" % (index, _matching(_SUFFIX, suffix, "suffix"))


def checkpoint_path(folder: Path, index: int, name: str) -> Path:
    """Where a job in `folder` finds a piece of an input that an earlier attempt finished."""
    return folder / "in" / "checkpoints" / ("%d" % index) / _matching(_CHECKPOINT, name, "checkpoint")


def model_path(folder: Path, role: str, path: str) -> Path:
    """Where a job in `folder` finds the file `path` of the model that has a role in it."""
    plain = _matching(_MODEL_FILE, path, "path in a model")
    return folder / "models" / _matching(_ROLE, role, "role") / plain


def _matching(pattern: "re.Pattern[str]", name: Any, what: str) -> str:
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise ValueError("not a %s: %.200r" % (what, name))
    return name


def link(blob: Path, path: Path) -> None:
    """Make a blob appear at `path`."""
    if not blob.exists():
        raise RunnerError("integrity", "blob %s is no longer here: it has to be sent again" % blob.name)
    try:
        os.link(str(blob), str(path))
    except OSError:  # a file system without links, or too many of them
        import shutil  # rarely needed, and slow to import

        shutil.copyfile(str(blob), str(path))


def token() -> str:
    """A name nobody else will choose. (The `secrets` module costs a tenth of a verb to import.)"""
    return os.urandom(4).hex()


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value`, whole or not at all, even when the power goes."""
    draft = path.with_name("%s.%s.tmp" % (path.name, token()))
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(value, file, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote; None when there is nothing, or nothing that a disk error left readable."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def reserve(folder: Path) -> None:
    """Set aside room for a job's last word, while there is some. Random bytes: no file system packs them away."""
    (folder / "reserve").write_bytes(os.urandom(RESERVE_BYTES))


def write_last_word(folder: Path, word: Dict[str, Any]) -> None:
    """Write how a job ended, even on a disk that its own outputs have filled."""
    (folder / "reserve").unlink(missing_ok=True)
    write_json(folder / "status.json", {"state": "ended", **word})


def is_full(folder: Path) -> bool:
    """Whether the disk takes no more; asked by trying, since a quota shows in no figure."""
    probe = folder / ("room.%s.tmp" % token())
    try:
        probe.write_bytes(os.urandom(RESERVE_BYTES))
    except OSError as error:
        return error.errno in FULL
    finally:
        probe.unlink(missing_ok=True)
    return False


def describe(error: Exception) -> Dict[str, str]:
    """Make of any exception what a caller hears: {kind, message}."""
    message = "the request has no %s" % error if isinstance(error, KeyError) else str(error)
    return {"kind": _kind(error), "message": message[:2000] or type(error).__name__}


def _kind(error: Exception) -> str:
    if isinstance(error, RunnerError):
        return error.kind
    if isinstance(error, OSError) and error.errno in FULL:
        return "no_space"
    return "bad_request" if isinstance(error, (ValueError, KeyError, TypeError)) else "failed"
