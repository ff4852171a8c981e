"""What all routes share: the settings, brokers to ask, uploads, and who looks after jobs and tells of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from fastapi import Request

from broker import followers
from broker.broker import Broker
from broker.errors import OffloadError
from broker.settings import Settings
from server.access import Access
from server.access import folder as folder
from server.blobs import Blobs
from server.watcher import Watcher

LOOK_AFTER_SECONDS = 30.0
"""How often somebody is seen to who may have died: as the next command would."""


class Desk:
    """What a running server has. Open it as a context."""

    def __init__(self, settings: Settings, access: Access, port: int) -> None:
        self.settings, self.access, self.port = settings, access, port
        self.blobs = Blobs(folder(settings), settings.serve_bytes, settings.keep_days)
        self.watcher = Watcher(settings)
        self._waits = threading.Event()
        self._over = False

    @contextmanager
    def broker(self) -> Iterator[Broker]:
        """An open broker, for this thread and this request."""
        with Broker(self.settings) as opened:
            yield opened

    def look_after(self) -> None:
        """Have what waits started, soon: a thousand jobs that come at once are seen to together."""
        self._waits.set()

    @contextmanager
    def open(self) -> Iterator[None]:
        """See to jobs and uploads while this lasts."""
        self.blobs.sweep()
        seeing = threading.Thread(target=self._see_to_jobs, name="jobs")
        seeing.start()
        try:
            with self.watcher.open():
                yield
        finally:
            self._over = True
            self._waits.set()
            seeing.join()

    def _see_to_jobs(self) -> None:
        while not self._over:
            with suppress(OffloadError), self.broker() as broker:  # tried again, and each job tells what it waits for
                followers.revive(broker)
            self._waits.wait(LOOK_AFTER_SECONDS)
            self._waits.clear()


def desk(request: Request) -> Desk:
    """The desk of the app that serves a request: `Annotated[Desk, Depends(desk)]`."""
    found: Desk = request.app.state.desk
    return found
