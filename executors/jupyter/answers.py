"""What a program of ours on a target answers, whatever carries the words: a kernel, or a command that prints them."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

from executors.base import REPLY_BYTES, Completed, Lost, NoSpace, TransferFailed

FULL = ("ENOSPC", "EDQUOT")
ABSENT = ("ENOENT", "ENOTDIR", "ELOOP")


def to_run(argv: Sequence[str], stdin: bytes, root: str) -> dict[str, Any]:
    """The order to run a command in `root`."""
    return {"argv": list(argv), "stdin": base64.b64encode(stdin).decode(), "root": root, "most": REPLY_BYTES}


def completed(name: str, answer: Mapping[str, Any], timeout: float) -> Completed:
    """What came of a command, on the target `name`. Raises Lost or TransferFailed, as `Executor.run`."""
    if "error" in answer:
        raise Lost(f"{name}: commands cannot be started there: {answer['said']}")
    if answer.get("late"):
        raise Lost(f"{name}: a command did not end within {timeout:g} s")
    if answer.get("long"):
        raise TransferFailed(f"{name}: a command printed more than the {REPLY_BYTES} bytes allowed")
    stdout, stderr = (base64.b64decode(answer[stream]) for stream in ("stdout", "stderr"))
    return Completed(answer["status"], stdout, stderr)


def check(name: str, answer: Mapping[str, Any], what: str) -> None:
    """Raise NoSpace or TransferFailed for an order about a file that came to nothing; `what` did."""
    if answer.get("error") in FULL:
        raise NoSpace(f"{name}: the disk is full")
    if "error" in answer:
        raise TransferFailed(f"{name}: {what}: {answer['error']} {answer.get('said', '')}")
