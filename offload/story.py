"""A receipt as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from broker.job import Job
from services.base.text import anywhere, plain, typed

WAYS = {"interrupted": "attach", "failed": "retry", "partly": "retry", "cancelled": "retry"}
"""The verb that goes on with a job in each state."""


def story(receipt: Mapping[str, Any], state: str, job: Job) -> str:
    """The receipt in lines, fit to be shown: the job, its items, its attempts."""
    return "\n".join(_lines(receipt, state, job))


def _lines(receipt: Mapping[str, Any], state: str, job: Job) -> Iterator[str]:
    yield f"job {receipt['job']}  {receipt['service']}  {state}{_took(receipt)}"
    yield f"  {anywhere(job.folder, job.command)}"
    if receipt["error"]:
        yield f"  {plain(receipt['error'])}"
    if state in WAYS:
        yield f"  to go on with it: {typed(f'offload jobs {WAYS[state]} {job.id}')}"
    for item in receipt["items"]:
        yield from _item(item)
    for attempt in receipt["attempts"]:
        what = f"attempt {attempt['number']}  {attempt['state']} on {attempt['target']}"
        yield f"{what}{_took(attempt)}: {plain(attempt['reason'])}"
        yield from (f"  {plain(attempt[key])}" for key in ("error",) if attempt[key])


def _item(item: Mapping[str, Any]) -> Iterator[str]:
    yield f"item {item['index']}  {item['state']}  {plain(item['input'])}"
    yield f"  {item['size']} bytes{_prepared(item)}"
    if item["error"]:
        yield f"  {plain(item['error'])}"
    yield from (f"  -> {plain(output['path'])}  {output['size']} bytes" for output in item["outputs"])
    yield from (f"  {plain(key)}: {plain(_figures(value))}" for key, value in item["measured"].items())
    if item["checkpoints"]:
        made = (f"{one['pieces']} by attempt {one['attempt']}" for one in item["checkpoints"])
        yield f"  finished pieces: {', '.join(made)}"


def _prepared(item: Mapping[str, Any]) -> str:
    """How much of an input its preparation left to work on, and to be sent where it goes elsewhere."""
    if not item["payload"]:
        return ""
    share = f" ({item['payload']['size'] / item['size']:.1%})" if item["size"] else ""
    return f"; prepared: {item['payload']['size']} bytes{share}"


def _figures(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_figures(one)}" for key, one in value.items())
    return str(value)


def _took(what: Mapping[str, Any]) -> str:
    return f"  {what['seconds']} s" if what["seconds"] is not None else ""
