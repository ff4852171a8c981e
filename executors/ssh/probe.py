"""A look at a target: is there an SSH server at the first machine on the way, and is its key the one we know?"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing
from typing import Any

from executors.base import ExecutorError, NotInstalled, Probe, Unreachable
from executors.ssh.address import Address


def probe(address: Address, deadline: float) -> Probe:
    """Connect to the first hop and compare its key, all within `deadline` seconds. Nobody logs in."""
    try:
        from executors.ssh import connection
    except ImportError as error:
        return Probe.failed(address.name, not_installed(address.name, error))
    steps: tuple[str, ...] = ()
    try:
        target = connection.describe(address)
        steps = connection.steps(address, target)
        _look(address, connection.hops(target)[0], deadline)
    except ExecutorError as error:
        return Probe.failed(address.name, error, steps)
    return Probe(True, steps=steps)


def not_installed(name: str, error: ImportError) -> NotInstalled:
    """The error of a target `name` where its packages cannot be imported here."""
    hint = "pip install 'offload-broker[ssh]'"
    return NotInstalled(f"{name}: {error.name} is not installed here", step="packages here", hint=hint)


def _look(address: Address, first: Any, deadline: float) -> None:
    from executors.ssh import connection

    if isinstance(first.gateway, str):
        return  # a ProxyCommand is a program of the user's: a look starts none
    until = time.monotonic() + deadline
    try:
        with _dial(first.host, first.port, until) as sock, closing(first.client):
            _compare(address, first, sock, until, deadline)
    except OSError as error:
        raise connection.meaning(address, first, error, deadline) from error


def _compare(address: Address, first: Any, sock: socket.socket, until: float, deadline: float) -> None:
    from executors.ssh import connection

    try:
        connection.look(address, first, sock, _left(until))
    except Unreachable:
        if first.client.get_transport().remote_version:
            return  # a server far away may greet us in time, and show its key too late for a look
        if time.monotonic() < until:
            raise
        raise connection.meaning(address, first, TimeoutError(), deadline) from None


def _dial(host: str, port: int, until: float) -> socket.socket:
    """Connect to the first of a host's addresses that answers; each has its share of the time."""
    addresses = _resolve(host, port, until)
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_left(until) / (len(addresses) - number))
            sock.connect(address)
            return sock
        except OSError:
            sock.close()
            if number == len(addresses) - 1:
                raise
    raise socket.gaierror(f"{host} has no address")


def _resolve(host: str, port: int, until: float) -> list[Any]:
    """Look a name up. A resolver knows no deadline, so it is left behind in a thread when it takes too long."""
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(_left(until))
    if not found:
        raise socket.gaierror(socket.EAI_AGAIN, "the resolver does not answer")
    if isinstance(found[0], OSError):
        raise found[0]
    return list(found[0])


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
