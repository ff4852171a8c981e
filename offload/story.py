"""A receipt as a person reads it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def story(receipt: Mapping[str, Any], state: str, command: Sequence[str]) -> str:
    """The receipt in lines: the job, its items, its attempts."""
    return "\n".join(_lines(receipt, state, command))


def _lines(receipt: Mapping[str, Any], state: str, command: Sequence[str]) -> Iterator[str]:
    yield f"job {receipt['job']}  {receipt['service']}  {state}{_took(receipt)}"
    yield f"  {shlex.join(command)}"
    if state == "interrupted":
        yield "  type that command again to go on with it"
    if receipt["error"]:
        yield f"  {receipt['error']}"
    for item in receipt["items"]:
        yield f"item {item['index']}  {item['state']}  {item['input']}"
        yield from (f"  {item[key]}" for key in ("error",) if item[key])
        yield from (f"  -> {output['path']}  {output['size']} bytes" for output in item["outputs"])
        yield from (f"  {key}: {value}" for key, value in item["measured"].items())
    for attempt in receipt["attempts"]:
        what = f"attempt {attempt['number']}  {attempt['state']} on {attempt['target']}"
        yield f"{what}{_took(attempt)}: {attempt['reason']}"
        yield from (f"  {attempt[key]}" for key in ("error",) if attempt[key])


def _took(what: Mapping[str, Any]) -> str:
    return f"  {what['seconds']} s" if what["seconds"] is not None else ""
