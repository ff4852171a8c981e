"""Running the server: at a port of this machine alone, until somebody asks it to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

import uvicorn
from starlette.types import ASGIApp

from broker.errors import ConfigError, Interrupted
from broker.settings import Settings
from broker.stop import Stop
from server import access, app, running
from server.desk import Desk
from server.protocol import Protocol
from services.base.progress import say

LAST_WORDS_SECONDS = 0.5
"""How long requests that are being answered may take when the server stops."""

PATIENCE_SECONDS = 3.0
"""How long what goes on although nobody listens any more is waited for: a thread cannot be stopped."""


class Taken(ConfigError):
    """Another program is at the port."""


def bind(port: int) -> socket.socket:
    """A socket at a port of this machine, 0 for any that is free. Raises Taken, else ConfigError for one denied us."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((running.HOST, port))
        bound.listen(2048)  # of two that bind at once, the second fails here
    except OSError as error:
        bound.close()
        kind = Taken if error.errno == errno.EADDRINUSE else ConfigError
        raise kind(f"port {port} cannot be had: {error.strerror}", "offload serve --port 0 takes a free one") from error
    return bound


def serve(settings: Settings, bound: socket.socket, tell: Callable[[str], None]) -> None:
    """Serve at a socket until a signal; `tell` hears the login link once that can be opened.

    Raises ConfigError for a token that cannot be used.
    """
    _log()
    with bound:
        port = bound.getsockname()[1]
        door = access.Access(access.token(access.folder(settings)))
        stop = Stop()
        with running.known(settings, port), stop.on_signals():
            desk = Desk(settings, door, port)
            _Server(desk, stop, lambda: tell(running.link(port, door.code()))).run([bound])
    _farewell()


def _config(served: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        served,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody stands before us, so nobody's word on who asks is taken
        http=Protocol,
        ws="none",
        lifespan="on",
    )


@cache
def _farewell() -> None:
    say("stopped; jobs go on")


def _leave() -> None:
    """End as `kill -9` would: what that leaves is made good."""
    _farewell()
    os._exit(Interrupted.exit_code)


def _log() -> None:
    """Let what goes wrong be said on stderr: by the server, not by what it uses, which says it in errors."""
    said = logging.StreamHandler()
    said.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    levels = {"uvicorn": logging.ERROR, "python_multipart": logging.ERROR, "offload": logging.WARNING}
    for name, level in levels.items():  # the first two warn of odd clients
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).addHandler(said)


class _Server(uvicorn.Server):
    """uvicorn's, stopped by our signals, and soon: it would wait for whoever is slow."""

    def __init__(self, desk: Desk, stop: Stop, begun: Callable[[], None]) -> None:
        super().__init__(_config(app.create(desk)))
        self._desk, self._stop, self._begun = desk, stop, begun

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to who stops us."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        await super().startup(sockets)
        self._begun()

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop."""
        return await super().on_tick(counter) or self._stop.requested

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is being answered, end the streams, and hang up on the rest: all come back to the next server."""
        self._desk.watcher.listeners.end()
        asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._hang_up)
        leaving = threading.Timer(PATIENCE_SECONDS, _leave)
        leaving.daemon = True
        leaving.start()
        await super().shutdown(sockets)

    def _hang_up(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.close()
