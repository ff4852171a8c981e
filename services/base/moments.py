"""Moments of what was tagged, found by what they show. It asks no network: the model is here, as what is searched."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from broker import scripts
from broker.broker import Broker
from broker.errors import InputError, JobFailed, LimitError, MissingHere, OffloadError, UsageError
from broker.job import Input, Item, Request
from broker.models import catalogue
from broker.stop import Stop
from broker.targets import LOCAL
from executors.base import ExecutorError
from services.base import tagged
from services.base.tagged import LeftOut, Tagged
from services.base.text import near

NOTHING = "nothing that is still there has been tagged"
NAMED = 5  # of the files that are left out for one reason
FAILURES = {"bad_input": InputError, "missing": MissingHere, "limit": LimitError, "memory": LimitError}


@dataclass(frozen=True)
class Moment:
    """A second of a clip, and how well it shows what was asked for: a cosine."""

    entry: Tagged
    seconds: float
    score: float


def search(
    broker: Broker, entries: Sequence[Tagged], text: str, top: int, model: str | None, stop: Stop
) -> list[Moment]:
    """The best moments, over all models that were used; `model` is where they are now, if that is not known.

    Raises UsageError where no model is known, MissingHere where it is not here, and what a job raises.
    """
    moments = [moment for group in _groups(entries) for moment in _search_one(broker, group, text, top, model, stop)]
    return sorted(moments, key=lambda moment: -moment.score)[:top]


def remarks(entries: Sequence[Tagged], left: Sequence[LeftOut], name: Callable[[Path], str]) -> Iterator[str]:
    """What is to be said of a search: what is left out, by `name`, and what makes its scores hard to compare."""
    for why, group in groupby(sorted(left, key=_why), key=_why):
        names = [name(one.path) for one in group]
        others = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield f"left out, since {why}: {', '.join(names[:NAMED])}{others}"
    models = len(_groups(entries))
    if models > 1:
        yield f"tagged with {models} models, whose scores differ by more than what is seen: tag with one"


def _why(left: LeftOut) -> str:
    return left.why


def _groups(entries: Sequence[Tagged]) -> list[list[Tagged]]:
    """Those of one model together."""
    return [list(group) for _, group in groupby(sorted(entries, key=_by_model), key=_by_model)]


def _by_model(entry: Tagged) -> tuple[str, str]:
    return entry.weights, entry.source


def _search_one(
    broker: Broker, group: Sequence[Tagged], text: str, top: int, model: str | None, stop: Stop
) -> Iterator[Moment]:
    """The best moments among those of one model."""
    source = catalogue.find(tagged.SERVICE, model).source if model else group[0].source
    if not source:
        raise UsageError(f"{near(group[0].tags)} does not tell which model made it", "add --model, and its folder")
    with tempfile.TemporaryDirectory() as place:
        wanted, found = Path(place) / "clips.json", Path(place) / "moments.json"
        wanted.write_text(json.dumps([entry.embeddings for entry in group]), "utf-8")
        params = {"text": text, "top": top, "threads": 0}
        inputs = [Input(wanted, {found.name: found})]
        with done(broker, "search.py", inputs, params, {"model": source}, stop) as (item,):
            _check(item)
            for moment in json.loads(found.read_text("utf-8")):
                yield Moment(group[moment["clip"]], moment["seconds"], moment["score"])


@contextmanager
def done(
    broker: Broker,
    script: str,
    inputs: Sequence[Input],
    params: Mapping[str, Any],
    models: Mapping[str, str],
    stop: Stop,
) -> Iterator[tuple[Item, ...]]:
    """The items of a job here that is seen through, and leaves nothing behind."""
    request = Request(
        "search",
        scripts.folder() / script,
        params,
        tuple(inputs),
        on=LOCAL,
        models=models,
        contract="close",
        command=("offload", "search"),
    )
    job = broker.submit(request)
    try:
        for _ in broker.drive(job, stop):
            pass
        yield broker.journal.job(job.id).items
    finally:
        # What cannot be tidied up now is listed by `jobs ls`, as any job is.
        with suppress(OffloadError, ExecutorError):
            broker.remove(broker.journal.job(job.id))


def _check(item: Item) -> None:
    if item.kind is not None:
        raise FAILURES.get(item.kind, JobFailed)(item.error or "the script failed", "offload doctor")
