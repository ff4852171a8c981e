"""Who listens to which jobs, and what they were told last. What is new waits for each of them: the latest alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from fastapi.sse import format_sse_event

KEPT = 1000
"""Jobs that are over, of which it is remembered what was told: when one of these is removed, that is told, too."""

LATEST = 20
"""Jobs that are over, that who begins to listen hears of."""


@dataclass(frozen=True)
class News:
    """A job as it is now: `data` is the JSON of its `schemas.Job`, of one that is `gone` of its id alone."""

    job: str
    revision: str
    data: str
    over: bool
    gone: bool = False

    @cached_property
    def event(self) -> bytes:
        """It as a server-sent event: made once, however many listen."""
        kind = "gone" if self.gone else "job"
        return format_sse_event(event=kind, id=self.revision or None, data_str=self.data)


STILL = News("", "", "", over=False)
"""Nothing is new, for as long as was asked."""


class Listener:
    """One that listens to a job, or to all (None). Of the event loop it was made in."""

    def __init__(self, job: str | None) -> None:
        self.job = job
        self._waiting: dict[str, News] = {}
        self._heard = asyncio.Event()
        self._ended = False

    def hear(self, news: News) -> None:
        """What is new takes the place of what this one has not asked for yet, of the same job."""
        self._waiting[news.job] = news
        self._heard.set()

    def end(self) -> None:
        """Nothing will come any more."""
        self._ended = True
        self._heard.set()

    async def next(self, still: float | None = None) -> News | None:
        """What is new, as soon as there is something; STILL after so many seconds without, None at the end."""
        while not self._waiting:
            if self._ended:
                return None
            self._heard.clear()
            try:
                async with asyncio.timeout(still):
                    await self._heard.wait()
            except TimeoutError:
                return STILL
        return self._waiting.pop(next(iter(self._waiting)))


class Listeners:
    """All that listen. Any thread may tell; who comes and goes does so in `loop`."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._of: dict[str | None, set[Listener]] = {}
        self._told: dict[str, News] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return sum(map(len, self._of.values()))

    def add(self, listener: Listener) -> None:
        """From now on this one hears; at once what others were told already."""
        with self._lock:
            self._of.setdefault(listener.job, set()).add(listener)
            told = [news for news in self._told.values() if listener.job in (None, news.job)]
        over = [news.job for news in told if news.over][:-LATEST] if listener.job is None else []
        for news in told:
            if news.job not in over:
                listener.hear(news)

    def remove(self, listener: Listener) -> None:
        """This one does not hear any more. What nobody listens to is forgotten."""
        with self._lock:
            left = self._of[listener.job]
            left.discard(listener)
            if not left:
                del self._of[listener.job]
                self._told = {job: news for job, news in self._told.items() if self._is_wanted(job)}

    def wanted(self) -> tuple[set[str | None], Mapping[str, News]]:
        """What is listened to, None for all, and what was told of it."""
        with self._lock:
            return set(self._of), dict(self._told)

    def tell(self, found: Iterable[News]) -> None:
        """Tell what is new among what was found."""
        with self._lock:
            pairs = [
                (listener, news)
                for news in found
                if self._is_new(news)
                for listener in (*self._of.get(news.job, ()), *self._of.get(None, ()))
            ]
            self._forget_oldest()
        if pairs and self.loop:
            self.loop.call_soon_threadsafe(_hand_out, pairs)

    def end(self) -> None:
        """Nobody is told anything any more."""
        with self._lock:
            for listener in {one for all_of in self._of.values() for one in all_of}:
                listener.end()

    def _is_wanted(self, job: str) -> bool:
        return job in self._of or None in self._of

    def _is_new(self, news: News) -> bool:
        before = self._told.pop(news.job, None)
        if not self._is_wanted(news.job) or (news.gone and before is None and news.job not in self._of):
            return False
        if not news.gone:
            self._told[news.job] = news
        return before is None or before.revision != news.revision

    def _forget_oldest(self) -> None:
        over = [job for job, news in self._told.items() if news.over]
        for job in over[:-KEPT]:
            del self._told[job]


def _hand_out(pairs: Iterable[tuple[Listener, News]]) -> None:
    for listener, news in pairs:
        listener.hear(news)
