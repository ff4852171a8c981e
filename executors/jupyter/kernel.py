"""A kernel of our own on a Jupyter server, and the websocket over which it takes orders (see `helper`).

One kernel and one websocket do for everything: an order is started and not waited for, so one that follows a job for
seconds and one that cancels it pass each other. The kernel's history and counters are left alone.
"""

from __future__ import annotations

import base64
import json
import logging
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from websockets import exceptions
from websockets.sync import client

from executors.base import ExecutorError, Lost, Refused, Unreachable
from executors.dialing import is_loopback
from executors.jupyter.helper import MIME
from executors.jupyter.server import KERNEL, WEBSOCKET, Answered, Server

HELPER = Path(__file__).with_name("helper.py").read_text("utf-8")

MESSAGE_BYTES = 2**24
AGAIN_SECONDS = 5.0
"""How long an answer is waited for before its order is sent again: it may have gone astray, and is obeyed once."""

ANSWER_SECONDS = 30.0
"""How much later than its order's time-out an answer may come."""

LEFT_SECONDS = 600.0
"""A kernel of ours to which nobody has spoken for so long, nor is connected, was left by a client that was killed."""

MARK = "offload-kernel-"
ENDED = ("restarting", "autorestarting", "dead")

Answer = dict[str, Any]

_log = logging.Logger("websocket", logging.CRITICAL)  # the library's own would show our headers to who debugs
_log.addHandler(logging.NullHandler())


class Kernel:
    """Starts a kernel in the server's folder `root`. Raises Unreachable or Refused."""

    def __init__(self, server: Server, root: str) -> None:
        self._server = server
        self._token = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._pending: dict[str, tuple[str, Future[Answer]]] = {}
        self._ended: ExecutorError | None = None
        self._heard = False
        _end_left(server, root)
        self._session, self._id = _start(server, f"{root}/{MARK}{self._token}")
        try:
            self._socket = self._connect()
            self._socket.send(self._message(_program(self._token)))
        except BaseException:
            self._end()
            raise
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def ask(self, do: str, timeout: float, **order: Any) -> Answer:
        """Give an order and wait for its answer, `timeout` seconds and a little more. Raises Lost."""
        name, future = secrets.token_hex(8), Future[Answer]()
        code = self._order(name, do, timeout=timeout, **order)
        with self._lock:
            if self._ended:
                raise self._ended
            self._pending[name] = code, future
        try:
            return self._answer(code, future, time.monotonic() + timeout + ANSWER_SECONDS)
        finally:
            with self._lock:
                self._pending.pop(name, None)

    def _answer(self, code: str, future: Future[Answer], deadline: float) -> Answer:
        """Send an order until it is answered. What goes on its way while connections change may be lost."""
        while (left := deadline - time.monotonic()) > 0:
            self._send(code)
            with suppress(TimeoutError):
                return future.result(min(left, AGAIN_SECONDS))
        raise Lost(f"{self._server.name}: the kernel does not answer any more")

    def _send(self, code: str) -> None:
        with suppress(exceptions.ConnectionClosed):  # who listens connects anew, and sends it again
            self._socket.send(self._message(code))

    def tell(self, do: str, **order: Any) -> None:
        """Give an order that nobody waits for. It may not arrive."""
        self._send(self._order(secrets.token_hex(8), do, **order))

    def _order(self, name: str, do: str, **order: Any) -> str:
        text = base64.b64encode(json.dumps({"id": name, "do": do, **order}).encode()).decode()
        return f"_offload_{self._token}['obey']('{text}')"

    def close(self) -> None:
        """End the kernel, as far as the connection still allows."""
        self._fail(Lost(f"{self._server.name}: not connected"))
        self._end()
        self._socket.close()
        self._listener.join()

    def _end(self) -> None:
        with suppress(Answered, ExecutorError):  # it may be gone, and the server with it
            self._server.json("DELETE", f"api/sessions/{self._session}")

    def _message(self, code: str) -> str:
        # With an id of its own, also when it is sent again: a kernel drops a message that it has seen.
        header = {"msg_id": secrets.token_hex(8), "msg_type": "execute_request", "version": "5.3"}
        content = {"code": code, "silent": True, "store_history": False, "allow_stdin": False, "stop_on_error": False}
        header |= {"username": "offload", "session": self._token, "date": datetime.now().astimezone().isoformat()}
        message = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
        return json.dumps(message)

    def _connect(self) -> client.ClientConnection:
        try:
            return self._dial()
        except exceptions.InvalidStatus as error:
            if error.response.status_code not in (401, 403) or not self._server.access.renew():
                raise self._turned_away(error.response.status_code) from error
        except exceptions.InvalidHandshake as error:
            raise self._no_websocket(str(error)) from error
        except (OSError, exceptions.ConnectionClosed) as error:  # refused, or broken in the middle of its handshake
            raise self._server.no_connection(error) from error
        try:
            return self._dial()
        except (exceptions.InvalidHandshake, exceptions.ConnectionClosed, OSError) as error:
            raise self._server.shut_out(403) from error

    def _dial(self) -> client.ClientConnection:
        url = self._server.access.url
        connecting = client.connect(
            f"ws{url.removeprefix('http')}api/kernels/{self._id}/channels?session_id={secrets.token_hex(8)}",
            additional_headers=self._server.access.headers(),
            ssl=self._server.tls,
            proxy=None if is_loopback(url) else True,
            open_timeout=self._server.timeout,
            ping_interval=self._server.silence / 2,
            ping_timeout=self._server.silence,
            close_timeout=1,
            compression=None,
            max_size=MESSAGE_BYTES,
            logger=_log,
        )
        return connecting.__enter__()  # the only way that versions 15 to 17 have in common; `close` is its end

    def _turned_away(self, status: int) -> ExecutorError:
        if status in (401, 403):
            return self._server.shut_out(status)
        if status in (424, 502, 503, 504):
            return self._server.not_running(status)
        if status == 404 and self._heard:
            return Lost(f"{self._server.name}: its kernel is gone")
        return self._no_websocket(f"it answers {status}")

    def _no_websocket(self, why: str) -> Refused:
        said = f"{self._server.name}: what is between here and the server does not let websockets through: {why}"
        hint = f"go round the proxy (NO_PROXY), or through a tunnel (ssh -L); it is {self._server.access.url}"
        return Refused(said, step=WEBSOCKET, hint=hint)

    def _listen(self) -> None:
        """Hear answers until the kernel is closed or lost; a connection that breaks is made anew once."""
        while True:
            self._heard = False
            with suppress(exceptions.ConnectionClosed):
                for message in self._socket:
                    _acknowledge(self._socket.socket)
                    self._hear(json.loads(message))
            if self._ended:
                return
            try:
                self._again()
            except ExecutorError as error:
                self._fail(Lost(f"{error}", step=error.step, hint=error.hint))
                return

    def _again(self) -> None:
        if not self._heard:
            raise self._no_websocket("it breaks each at once")
        websocket = self._connect()
        with self._lock:
            self._socket = websocket
            codes = [code for code, _ in self._pending.values()]
        for code in codes:
            self._send(code)

    def _hear(self, message: Mapping[str, Any]) -> None:
        self._heard = True
        kind, content = message.get("msg_type"), message.get("content", {})
        if kind == "display_data" and MIME in content["data"]:
            self._settle(content["data"][MIME])
        elif kind == "execute_reply" and content.get("status") != "ok":
            self._fail(Lost(f"{self._server.name}: its kernel was restarted: {content.get('ename', '')}"))
        elif kind == "status" and content.get("execution_state") in ENDED:
            self._fail(Lost(f"{self._server.name}: its kernel died, perhaps for want of memory"))

    def _settle(self, answer: Answer) -> None:
        with self._lock:
            _, future = self._pending.get(answer["id"], ("", None))
        if future and not future.done():
            future.set_result(answer)

    def _fail(self, error: ExecutorError) -> None:
        with self._lock:
            self._ended = self._ended or error
            futures = [future for _, future in self._pending.values()]
        for future in futures:
            if not future.done():
                future.set_exception(error)


def _acknowledge(sock: socket.socket) -> None:
    """Let TCP say at once what has arrived: Jupyter keeps an answer back until it hears so, by default 40 ms later."""
    if hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):  # it may be closed by now
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _program(token: str) -> str:
    source = base64.b64encode(HELPER.encode()).decode()
    code = f"compile(__import__('base64').b64decode('{source}'), 'offload', 'exec')"
    return f"_offload_{token} = {{'__name__': 'offload'}}; exec({code}, _offload_{token})"


def _start(server: Server, path: str) -> tuple[str, str]:
    """Start a kernel as a session, which has a name that people see; returns the ids of both."""
    kernel = {"name": _python_kernel(server)}
    model = {"path": path, "name": "offload", "type": "console", "kernel": kernel}
    try:
        session = server.json("POST", "api/sessions", model)
        return str(session["id"]), str(session["kernel"]["id"])
    except (Answered, LookupError, TypeError) as error:
        raise Unreachable(f"{server.name}: no kernel could be started there: {error}", step=KERNEL) from error


def _python_kernel(server: Server) -> str:
    """The server's default kernel if it is one of Python, else the first that is."""
    try:
        found = server.json("GET", "api/kernelspecs")
        specs = {name: entry["spec"]["language"] for name, entry in found["kernelspecs"].items()}
    except (Answered, LookupError, TypeError, AttributeError) as error:
        raise Unreachable(f"{server.name}: it does not tell which kernels it has: {error}", step=KERNEL) from error
    names = [name for name, language in specs.items() if str(language).lower() == "python"]
    if not names:
        hint = "python -m pip install ipykernel"
        raise Unreachable(f"{server.name}: it has no kernel for Python; there: {hint}", step=KERNEL)
    default = found.get("default")
    return str(default if default in names else names[0])


def _end_left(server: Server, root: str) -> None:
    """End kernels of ours that a killed client left. It is a courtesy: whatever fails, they only take room."""
    with suppress(Answered, ExecutorError, LookupError, TypeError, ValueError):
        with server.ask("GET", "api/sessions") as response:
            sessions, now = json.loads(response.read()), _date(response.headers.get("date", ""))
        for session in sessions:
            kernel = session["kernel"]
            idle = now - datetime.fromisoformat(kernel["last_activity"]).timestamp()
            if session["path"].startswith(f"{root}/{MARK}") and not kernel["connections"] and idle > LEFT_SECONDS:
                server.json("DELETE", f"api/sessions/{session['id']}")


def _date(said: str) -> float:
    """The server's own clock, as far as it tells."""
    return parsedate_to_datetime(said).timestamp() if said else time.time()
