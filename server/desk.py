"""What all routes share: the settings, brokers to ask, uploads, and who looks after jobs and tells of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from fastapi import Request

from broker import followers
from broker.broker import Broker
from broker.errors import OffloadError
from broker.settings import Settings
from server import folders
from server.access import Access
from server.access import folder as folder
from server.blobs import Blobs
from server.notices import notices
from server.opening import opened, say
from server.watcher import Watcher

LOOK_AFTER_SECONDS = 30.0
"""How often somebody is seen to who may have died: as the next command would."""

SWEEP_SECONDS = 3600.0

log = logging.getLogger("offload.server")


class Desk:
    """What a running server has. Open it as a context."""

    def __init__(self, settings: Settings, access: Access, port: int) -> None:
        self.settings, self.access, self.port = settings, access, port
        self.blobs = Blobs(folder(settings), settings.serve_bytes, settings.keep_days)
        self.watcher = Watcher(settings)
        self._first: deque[Callable[[Broker], object]] = deque()
        self._waits = threading.Event()
        self._over = False

    @contextmanager
    def broker(self) -> Iterator[Broker]:
        """An open broker, for this thread and this request."""
        with opened(self.settings) as broker:
            yield broker

    def look_after(self, first: Callable[[Broker], object] | None = None) -> None:
        """Have what waits started, soon: a thousand jobs that come at once are seen to together.

        What is to be done `first` is done in the background, too.
        """
        if first:
            self._first.append(first)
        self._waits.set()

    @contextmanager
    def open(self) -> Iterator[None]:
        """See to jobs and uploads while this lasts."""
        seeing = threading.Thread(target=self._see_to_all, name="jobs")
        seeing.start()
        try:
            with self.watcher.open():
                yield
        finally:
            self._over = True
            self._waits.set()
            seeing.join()

    def _see_to_all(self) -> None:
        sweeping = 0.0
        while not self._over:
            _tried(self._see_to_jobs)
            if time.monotonic() > sweeping:
                _tried(self.blobs.sweep)
                _tried(self._sweep_jobs)
                sweeping = time.monotonic() + SWEEP_SECONDS
            self._waits.wait(LOOK_AFTER_SECONDS)
            self._waits.clear()

    def _see_to_jobs(self) -> None:
        with self.broker() as broker:
            while self._first and not self._over:
                _tried(partial(self._first.popleft(), broker))
            followers.revive(broker)

    def _sweep_jobs(self) -> None:
        with self.broker() as broker:
            folders.sweep(broker)
            for notice in notices(broker):
                say(f"{notice.said}: `{notice.command}`")


def _tried(do: Callable[[], object]) -> None:
    """What fails now is tried again later: a server does not end because a disk is full."""
    try:
        do()
    except OffloadError as error:
        log.warning("%s", error)
    except Exception:
        log.exception("unexpected; the server goes on")


def desk(request: Request) -> Desk:
    """The desk of the app that serves a request: `Annotated[Desk, Depends(desk)]`."""
    found: Desk = request.app.state.desk
    return found
