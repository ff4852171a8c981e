"""Who watches jobs, and tells of what is new: one for all who listen.

It asks for the journal's version, and looks at jobs only when that is another, or once a second for what is not in
there: whether somebody drives them. Thousands that only wait are looked at in turn, so that no look takes long.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager

from broker.broker import Broker
from broker.errors import NoJob, OffloadError
from broker.settings import Settings
from server.listeners import LATEST, STILL, Listener, Listeners, News
from server.opening import opened
from server.snapshots import snapshot

LOOK_SECONDS = 0.1
"""How soon the journal's version is asked for again."""

DRIVEN_SECONDS = 1.0
"""How soon jobs are looked at again although the journal is the same: a driver may have died."""

REOPEN_SECONDS = 30.0
"""How long targets are taken to be the same."""

TURN_SECONDS = 0.05
"""How long a look at jobs that only wait may take; the rest has its turn in the next."""

log = logging.getLogger("offload.server")


class Watcher:
    """Tells of jobs as they change. Open it as a context, in the event loop of those who listen."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.listeners = Listeners()
        self._looked: dict[str, float] = {}
        self._wake, self._over = threading.Event(), threading.Event()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Watch while this lasts; then all streams end."""
        self.listeners.loop = asyncio.get_running_loop()
        watching = threading.Thread(target=self._run, name="watcher")
        watching.start()
        try:
            yield
        finally:
            self._over.set()
            self._wake.set()
            watching.join()
            self.listeners.end()

    async def job(self, job: str, since: str | None = None, still: float | None = None) -> AsyncGenerator[News]:
        """A job as it is now, unless `since` is its revision, and at each change, until it is over or gone.

        With `still` also STILL, whenever there was nothing new for so many seconds.
        """
        async with aclosing(self._heard(job, still)) as heard:
            async for news in heard:
                if news.revision != since:
                    yield news
                if news.over:
                    return
                since = None if news is not STILL else since

    async def everything(self, still: float | None = None) -> AsyncGenerator[News]:
        """The open jobs and the latest, and then every job that changes or is gone; with `still` as `job`."""
        async with aclosing(self._heard(None, still)) as heard:
            async for news in heard:
                yield news

    async def _heard(self, job: str | None, still: float | None) -> AsyncGenerator[News]:
        listener = Listener(job)
        self.listeners.add(listener)
        self._wake.set()
        try:
            while news := await listener.next(still):
                yield news
        finally:
            self.listeners.remove(listener)

    # In the thread that watches

    def _run(self) -> None:
        while not self._over.is_set():
            if not len(self.listeners):
                self._wake.wait()
            try:
                before = self._file()
                with opened(self._settings) as broker:
                    self._watch(broker, before)
            except OffloadError as error:
                log.warning("jobs cannot be watched for now: %s", error)
                self._over.wait(DRIVEN_SECONDS)
            except Exception:
                log.exception("jobs cannot be watched for now")
                self._over.wait(DRIVEN_SECONDS)

    def _file(self) -> tuple[int, int] | None:
        """Which file the journal is: a damaged one is set aside, and then another has its name."""
        try:
            found = self._settings.journal.stat()
        except OSError:  # who opens it says why
            return None
        return found.st_dev, found.st_ino

    def _watch(self, broker: Broker, file: tuple[int, int] | None) -> None:
        """Look whenever there may be something new, while anybody listens and this broker is fresh."""
        until, looked, before, behind = time.monotonic() + REOPEN_SECONDS, 0.0, -1, True
        while len(self.listeners) and not self._over.is_set() and time.monotonic() < until and self._file() == file:
            version, begun = broker.journal.queue.version(), time.monotonic()
            if behind or version != before or self._wake.is_set() or begun - looked > DRIVEN_SECONDS:
                self._wake.clear()
                before, looked, behind = version, begun, self._look(broker)
            self._wake.wait(max(LOOK_SECONDS, time.monotonic() - begun))  # half of the time is for others

    def _look(self, broker: Broker) -> bool:
        """Tell what is new; returns whether there was no time for all that may be."""
        wanted, told = self.listeners.wanted()
        urgent = _urgent(broker, wanted, told)
        self.listeners.tell([_news(broker, job) for job in urgent])
        in_turn = self._in_turn(broker, urgent, told) if None in wanted else []
        self.listeners.tell([*self._in_time(broker, in_turn)])
        return any(job not in self._looked for job in in_turn)

    def _in_time(self, broker: Broker, jobs: Iterable[str]) -> Iterator[News]:
        until = time.monotonic() + TURN_SECONDS
        for job in jobs:
            if time.monotonic() > until:
                return
            self._looked[job] = until
            yield _news(broker, job)

    def _in_turn(self, broker: Broker, but: Collection[str], told: Collection[str]) -> list[str]:
        """Other open jobs: those first that were not looked at for longest."""
        others = broker.journal.knows(()) - set(but)
        self._looked = {job: seen for job, seen in self._looked.items() if job in others and job in told}
        return sorted(others, key=lambda job: self._looked.get(job, 0.0))


def _urgent(broker: Broker, wanted: Collection[str | None], told: Mapping[str, News]) -> list[str]:
    """The jobs that are to be looked at each time."""
    asked = [job for job in wanted if job is not None]
    if None not in wanted:
        return asked
    open_jobs, known = broker.journal.knows(()), broker.journal.knows(told)
    ended = [job for job, news in told.items() if job not in (known if news.over else open_jobs)]
    latest = [job.id for job in reversed(broker.journal.jobs(LATEST))]
    running = broker.drivers() & open_jobs
    over = {job for job, news in told.items() if news.over and job in known} - open_jobs
    return [job for job in dict.fromkeys([*asked, *running, *ended, *latest]) if job not in over]


def _news(broker: Broker, job: str) -> News:
    try:
        found = snapshot(broker, job)
    except NoJob:  # removed
        return News(job, "", json.dumps({"job": job}), over=True, gone=True)
    return News(job, found.revision, found.model_dump_json(), found.over)
