"""Keeping what an attempt has made, once it is published, for whoever asks for the same again.

It is a courtesy to the next: what cannot be kept costs the job nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

from broker.errors import OffloadError
from broker.events import Note
from broker.job import Attempt, Item, Job
from broker.journal import Journal
from broker.ledger import Ledger
from broker.result_keys import Keys, kind
from broker.result_rows import Origin, Result
from broker.results import Results
from broker.settings import Settings


def results(settings: Settings, journal: Journal) -> Results:
    """The results that are kept here."""
    return Results(settings.cache_dir / "results", journal.results, settings.result_bytes)


class Keeping:
    """Keeps the results of one attempt."""

    def __init__(self, ledger: Ledger, attempt: Attempt, settings: Settings) -> None:
        self._ledger = ledger
        self._attempt = attempt
        self._settings = settings
        self._results = results(settings, ledger.journal)
        self._told = False

    def keep(self, index: int) -> Iterator[Note]:
        """Keep the published outputs of an item. The first that cannot be kept is told of."""
        if not self._settings.result_bytes or not self._ledger.job.keeps_results:
            return
        try:
            self._keep(self._ledger.job, index)
        except (OSError, OffloadError) as error:
            if not self._told:
                self._told = True
                reason = getattr(error, "strerror", None) or str(error)
                yield Note(f"the result is not kept for another time: {reason}", index)

    def _keep(self, job: Job, index: int) -> None:
        item, keys, kind = job.items[index], Keys(job), self._kind(job, index)
        if kind is None or not keys.known:
            return
        sources = {output.name: output.dest for output in item.outputs}
        self._results.keep(self._result(job, item, kind, keys.of(item, kind)), sources)

    def _result(self, job: Job, item: Item, kind: str, key: str) -> Result:
        versions = next(each.versions for each in self._ledger.attempts if each.id == self._attempt.id)
        files = {output.name: (output.size or 0, output.sha256 or "") for output in item.outputs}
        origin = Origin(job.id, self._attempt.target, versions, time.time())
        return Result(key, job.service, kind, files, item.measured, origin)

    def _kind(self, job: Job, index: int) -> str | None:
        """The kind of machine that made an item, finished pieces of other attempts included; None where it is not one.

        What was made with less memory than usual, or with another ffmpeg than the pinned one, is of no kind: it is made
        in another way, and the key does not tell.
        """
        made = self._ledger.journal.checkpoints(job.id).items()
        makers = {self._attempt.number, *(number for piece, number in made if piece.index == index)}
        told = [attempt.versions for attempt in self._ledger.attempts if attempt.number in makers]
        odd = ("ease", "own_ffmpeg")
        kinds = {None if any(map(versions.get, odd)) else kind(job.contract, versions) for versions in told}
        return kinds.pop() if len(kinds) == 1 else None

    def tidy(self) -> None:
        """Hold the bound on what is kept, and delete what belongs to nothing."""
        with suppress(OSError, OffloadError):  # another day
            self._results.sweep(self._settings.result_bytes)
