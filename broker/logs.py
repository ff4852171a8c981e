"""A job's logs as they grow: what each attempt's script says on stderr, from the first attempt to the last."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import suppress

from broker.broker import Broker
from broker.job import Attempt
from broker.ledger import LOG_CHARS
from broker.stop import Stop
from executors.base import PART_BYTES, Executor, ExecutorError, NoSuchFile, Span

LOOK_SECONDS = 0.5
OVERLAP = 4096
"""Characters by which a log whose beginning is gone is joined to what was told of it."""


def follow(broker: Broker, job: str, stop: Stop) -> Iterator[tuple[Attempt, str]]:
    """Tell what is new in a job's logs until the job is over, or we are asked to stop. An attempt begins with ""."""
    tails: dict[int, _Tail] = {}
    while not stop.requested:
        over = broker.journal.job(job).state.over  # asked first: a driver keeps the log before it says how it went
        for attempt in broker.journal.attempts(job):
            if attempt.id not in tails:
                tails[attempt.id] = _Tail(broker, attempt)
                yield attempt, ""
            for text in tails[attempt.id].news(stop):
                yield attempt, text
        if over:
            return
        stop.sleep(LOOK_SECONDS)


class _Tail:
    """One attempt's log, and how much of it was told."""

    def __init__(self, broker: Broker, attempt: Attempt) -> None:
        self._broker, self._attempt = broker, attempt
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._bytes = self._chars = 0
        self._last = ""
        self._ended = False

    def news(self, stop: Stop) -> Iterator[str]:
        """What has come since; of a running attempt, all that comes until it ends."""
        if self._ended:
            return
        if self._runs() and (target := self._broker.targets.get(self._attempt.target)):
            with suppress(ExecutorError), target.executor() as executor:  # away for now: it is asked again
                yield from self._as_it_comes(executor, stop)
        if not self._runs():
            self._ended = True
            yield self._told(self._rest(self._broker.journal.log(self._attempt) or ""))

    def _runs(self) -> bool:
        now = self._broker.journal.attempts(self._attempt.job)
        return any(attempt.id == self._attempt.id and attempt.state == "running" for attempt in now)

    def _as_it_comes(self, executor: Executor, stop: Stop) -> Iterator[str]:
        while self._runs() and not stop.requested:
            data = self._read(executor)
            self._bytes += len(data)
            yield self._told(self._decoder.decode(data))
            if not data:
                stop.sleep(LOOK_SECONDS)

    def _read(self, executor: Executor) -> bytes:
        try:
            return executor.get(f"jobs/{self._attempt.remote}/log.txt", Span(self._bytes, PART_BYTES))
        except NoSuchFile:  # not yet, or not any more
            return b""

    def _told(self, text: str) -> str:
        self._chars += len(text)
        self._last = (self._last + text)[-OVERLAP:]
        return text

    def _rest(self, kept: str) -> str:
        """What was not told yet of a log, of which the journal keeps no more than the last LOG_CHARS."""
        if len(kept) < LOG_CHARS or not self._last:
            return kept[self._chars :]
        _, found, rest = kept.rpartition(self._last)
        return rest if found else kept
