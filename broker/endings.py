"""How a script ended, as the error that the broker acts on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.agent import refusal
from broker.errors import JobFailed
from broker.job import Attempt, Item
from broker.reports import plain
from executors.base import Gone


def kind(ending: Mapping[str, Any]) -> str:
    """The kind of error that ended a script, as its runner says it; empty for none."""
    error = ending.get("error")
    return str(error.get("kind")) if isinstance(error, Mapping) else ""


def failure(ending: Mapping[str, Any], attempt: Attempt, left: Item) -> Exception:
    """Make an error of the last word on a job that left something undone, `left` first of it."""
    target, status = attempt.target, ending.get("exit")
    if kind(ending):
        return refusal(ending["error"], target)
    if not isinstance(status, int):
        return Gone(f"{target}: the job was ended by {plain(ending.get('terminated', 'something'))}")
    if status < 0:
        return Gone(f"{target}: the script was killed by signal {-status}, perhaps for want of memory")
    how = f"with status {status}" if status else f"without a word on {left.source}"
    return JobFailed(f"the script ended {how}", f"offload jobs logs {attempt.job}")
