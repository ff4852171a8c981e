"""Configures the Jupyter server of a runtime, which runs it as its configuration file: only a pass of ours lets in.

The check is within the server, so no hop more slows transfers, and websockets are checked by the same words.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from jupyter_server.auth.identity import IdentityProvider, User
from tornado.web import HTTPError, RequestHandler

HEADER, ARGUMENT = "X-Colab-Runtime-Proxy-Token", "colab-runtime-proxy-token"

PASSES = Path(os.environ.pop("DOUBLE_PASSES"))
"""JSON: when each pass is over, in seconds since the epoch. Kernels do not see where it is."""

PLACE = "127.0.0.1", int(os.environ.pop("DOUBLE_PORT"))


class Gate(IdentityProvider):
    """Lets in who shows a pass that is in `PASSES` and not over. Jupyter's own token and cookies count for nothing."""

    login_available = logout_available = False

    def get_user(self, handler: RequestHandler) -> User:
        """Tell who asks. Raises HTTPError 401 for everybody without a pass."""
        shown = handler.request.headers.get(HEADER) or handler.get_query_argument(ARGUMENT, "")
        passes: dict[str, float] = json.loads(PASSES.read_bytes())
        if passes.get(shown, 0) <= time.time():
            raise HTTPError(401)
        return User("runtime")

    def is_token_authenticated(self, handler: RequestHandler) -> bool:
        """Whether no browser's cookie was what let in: then Jupyter asks for no XSRF token."""
        return True


def drop(number: int, frame: FrameType | None) -> None:
    """Break all connections to the server, as a network would; it goes on listening."""
    for sock in _connections():
        with sock, suppress(OSError):  # the other side was faster
            sock.shutdown(socket.SHUT_RDWR)


def _connections() -> list[socket.socket]:
    numbers = [int(entry.name) for entry in Path("/proc/self/fd").iterdir() if entry.is_socket()]
    sockets = [socket.socket(fileno=os.dup(number)) for number in numbers]
    found = [sock for sock in sockets if sock.getsockname() == PLACE and not _listens(sock)]
    for sock in sockets:
        if sock not in found:
            sock.close()
    return found


def _listens(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


signal.signal(signal.SIGUSR2, drop)
c: Any = get_config()  # type: ignore[name-defined] # noqa: F821 - known to what runs this file
c.ServerApp.identity_provider_class = Gate
c.ServerApp.ip, c.ServerApp.port = PLACE
c.ServerApp.port_retries = 0
c.ServerApp.allow_root = True
c.ServerApp.open_browser = False
c.ServerApp.jpserver_extensions = {}
c.ServerApp.use_redirect_file = False
c.ServerApp.allow_unauthenticated_access = False
