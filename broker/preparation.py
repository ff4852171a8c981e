"""The preparation of a job: of each input the smallest that the job needs is made here, wherever it then goes.

It is an attempt of its own, before the others, by the same means: so it is cancelled, taken up and told of like those.
What it makes is published nowhere, but kept in the cache, and goes to the target in place of the input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from broker import measure, staging
from broker.attempt import Run
from broker.delivery import Delivery
from broker.errors import IntegrityError
from broker.events import Event
from broker.job import Item, Job, Payload
from broker.models.pin import Pin
from broker.payloads import Payloads, prepared
from broker.reports import NAME, Done
from broker.staging import Piece

MOST_BYTES = 4 * 10**9
"""The most that a preparation may make of one input: it goes into the cache, and over the wire."""


class Making(Delivery):
    """What a preparation delivers: it is kept in the cache, and published nowhere."""

    def _item_done(self, done: Done) -> Iterator[Event]:
        job = self._ledger.job
        item = job.items[done.index]
        payloads = prepared(self._settings, self._ledger.journal)
        if item not in lacking(job, payloads) or not (yield from self.unchanged((item,))):
            return
        payload = self._made(done)
        with measure.timed(self._timings, "stage_out"):
            payloads.keep(job, item, payload, partial(self._bring, item, payload))
        self._ledger.note_payload(item.index, payload)

    def _made(self, done: Done) -> Payload:
        [(name, (size, sha256))] = done.files.items() if len(done.files) == 1 else [("", (0, ""))]
        if not NAME.fullmatch(name) or size > MOST_BYTES:
            raise IntegrityError(f"{self._attempt.target}: the preparation announced something else than one file")
        return Payload(name, size, sha256)

    def _bring(self, item: Item, payload: Payload, part: Path) -> None:
        path = f"jobs/{self._attempt.remote}/out/{item.index}/{payload.name}"
        staging.fetch(self._executor, path, payload.size, payload.sha256, part)


class Preparation(Run):
    """The attempt that prepares the inputs. Raises as `Run` does."""

    delivers = Making

    @property
    def left(self) -> tuple[Item, ...]:
        """The items of which nothing was made yet, or nothing that is still here."""
        return lacking(self._ledger.job, self._payloads)

    def _said(self, job: Job) -> Job:
        assert job.prepare is not None, "only a job that has a preparation is prepared"
        return replace(job, script=job.prepare.script, params=job.prepare.params, extras=())

    def _pieces(self, items: Sequence[Item]) -> list[Piece]:
        return []

    def _sent(self, items: Sequence[Item]) -> list[Item]:
        return list(items)

    def _models(self, job: Job) -> Mapping[str, Pin]:
        return {}


def lacking(job: Job, payloads: Payloads) -> tuple[Item, ...]:
    """The open items of a job that are still to be prepared."""
    if job.prepare is None:
        return ()
    return tuple(item for item in job.open_items if payloads.stand_in(item) is None)
