"""Where things lie under a target's root, and the few file operations that must not go half-way."""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

_JOB = re.compile(r"[a-z0-9]{4,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class RunnerError(Exception):
    """Something the caller must hear of by kind."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def job_dir(root: Path, job: str) -> Path:
    """Directory of a job. Raises ValueError for a name that is not a job's."""
    if not isinstance(job, str) or not _JOB.fullmatch(job):
        raise ValueError("not a job: %r" % (job,))
    return root / "jobs" / job


def blob_path(root: Path, sha256: str) -> Path:
    """File of a blob. Raises ValueError for what is not a sha256."""
    return root / "blobs" / _hash(sha256)


def parts_dir(root: Path, sha256: str) -> Path:
    """Directory of a blob's parts on their way."""
    return root / "parts" / _hash(sha256)


def _hash(sha256: str) -> str:
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError("not a sha256: %r" % (sha256,))
    return sha256


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value`, whole or not at all, durably."""
    draft = path.with_name("%s.%s.tmp" % (path.name, secrets.token_hex(4)))
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(value, file, separators=(",", ":"))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        if draft.exists():
            draft.unlink()
        raise


def read_json(path: Path) -> Any:
    """Read what `write_json` wrote; None when there is nothing."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
