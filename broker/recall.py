"""Recall: what was made before is published again, bit for bit; what another job is making right now is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from typing import Self

from broker import publication
from broker.claim import Claim
from broker.errors import Interrupted, LimitError
from broker.events import Event, Note, Published
from broker.job import Attempt, Item, Job, State
from broker.ledger import Ledger
from broker.result_keys import Keys
from broker.result_rows import Origin, Result
from broker.results import Spoiled
from broker.settings import Settings
from broker.shelf import Shelf
from broker.stop import Stop
from broker.targets import CACHE, Target

LOOK_SECONDS = 0.2
"""How often one that waits looks whether what it waits for is there."""
LOOK_SHARE = 10
"""How many times longer it sleeps than a look took: a batch of thousands is a long look."""


class Recall:
    """A job's look at what is there already. Iterate it before the job is planned: its items may be done then.

    While it is open as a context, others that ask for the same wait for this job, unless it asks for all to be made
    anew. `driven` tells whether a living process drives a job.

    Raises Interrupted when stopped, and as `publication.publish` does.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        targets: Mapping[str, Target],
        driven: Callable[[str], bool],
        stop: Stop,
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._driven = driven
        self._stop = stop
        self._shelf = Shelf(settings, targets, ledger.journal)
        self._results = self._shelf.results
        self._attempts: dict[tuple[str, str], Attempt] = {}
        self._claim: Claim | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._claim:
            self._claim.leave()

    def __iter__(self) -> Iterator[Event]:
        job = self._ledger.job
        if not self._shelf.may_answer(job) or not job.open_items:
            return
        keys = Keys(job)
        if not keys.known or self._is_under_way(job):
            return
        path = self._settings.state_dir / "claims" / f"{keys.together(job.items, job.on)}.lock"
        self._claim = Claim(path, job.id)
        try:
            yield from self._look(keys)
            yield from self._wait(keys, self._claim)
        except (Interrupted, KeyboardInterrupt, GeneratorExit) as error:
            self._close(str(error) or "stopped at once")
            raise

    def _is_under_way(self, job: Job) -> bool:
        """Whether it runs somewhere, or may do so: of one that was restored after a loss nothing is known yet."""
        attempts = self._ledger.attempts
        return any(attempt.state == "running" for attempt in attempts) or (job.state is State.RUNNING and not attempts)

    def _close(self, why: str) -> None:
        publication.tidy(self._ledger)
        if not self._ledger.job.state.over:
            self._ledger.advance(State.CANCELLED, why, Interrupted.exit_code)

    # What was made before

    def _look(self, keys: Keys) -> Iterator[Event]:
        job = self._ledger.job
        kinds = self._shelf.kinds(job)
        for item in job.open_items:
            found = self._shelf.find(item, keys, kinds)
            if found and not self._stop.requested:
                yield from self._publish(job, item, found)

    def _publish(self, job: Job, item: Item, found: Result) -> Iterator[Event]:
        attempt = yield from self._attempt(found.origin)
        item = publication.announced(item, found.files)
        try:
            paths = publication.publish(self._ledger, attempt, job, item, self._results.bring, found.measured)
        except Spoiled as error:
            self._results.drop(found)
            self._in_vain(attempt, str(error))
            yield Note(f"what was made before is lost: {error}; it is made anew", item.index)
            return
        self._results.rows.use(found)
        yield from publication.moved_aside(item, paths)
        yield Published(item.index, paths, found.measured)

    def _attempt(self, origin: Origin) -> Generator[Event, None, Attempt]:
        """The attempt that stands for all that is had from one job on one target. The first time it is told of."""
        known = self._attempts.get((origin.job, origin.target))
        if known is not None:
            return known
        made = f"job {origin.job} on {origin.target}"
        yield Note(f"the same was made before ({made}, {_ago(origin.at)}); --no-cache makes it anew")
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(origin.at))
        attempt = self._ledger.recalled(CACHE, f"the same was made before: {made}, {when}", origin.versions)
        self._attempts[origin.job, origin.target] = attempt
        return attempt

    def _in_vain(self, attempt: Attempt, error: str) -> None:
        outputs = [output for item in self._ledger.job.items for output in item.outputs]
        if not any(output.attempt == attempt.number for output in outputs):
            self._ledger.recalled_in_vain(attempt, error)
            self._attempts = {origin: other for origin, other in self._attempts.items() if other != attempt}

    # What another is making

    def _wait(self, keys: Keys, claim: Claim) -> Iterator[Event]:
        waits, took, idle = False, 0.0, ""
        while self._ledger.job.open_items and not claim.take():
            if not self._at_work(claim.holder):
                if claim.holder == idle:
                    break  # twice: the name of one that died may stand there for a moment after another has come
                idle = claim.holder
            elif not waits:
                waits = True
                yield Note(self._remark(f"waiting for job {claim.holder}, which is making the same"))
            self._stop.sleep(max(LOOK_SECONDS, LOOK_SHARE * took))
            if self._stop.requested:
                raise Interrupted("stopped while it waited")
            started = time.monotonic()
            yield from self._look(keys)
            took = time.monotonic() - started
        if waits:
            self._remark("")
        yield from self._look(keys)  # it may have come between the last look and our claim

    def _at_work(self, holder: str) -> bool:
        """Whether one that has the claim will get on with it: one that was stopped keeps nobody waiting."""
        return holder != self._ledger.id and self._driven(holder)

    def _remark(self, words: str) -> str:
        with suppress(LimitError):  # the full disk may be the journal's
            self._ledger.remark(words)
        return words


def _ago(at: float) -> str:
    seconds = max(0.0, time.time() - at)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
