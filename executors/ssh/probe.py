"""A look at a target: is there an SSH server at the first machine on the way? Nothing more."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

from executors.base import Probe
from executors.ssh import connection
from executors.ssh.address import Address

GREETING = b"SSH-"
MOST_GREETING = 8192


def probe(address: Address, deadline: float) -> Probe:
    """Connect to the first hop and read its greeting, all within `deadline` seconds."""
    first = connection.hops(connection.describe(address))[0]
    if isinstance(first.gateway, str):
        return Probe(True, f"reached through a ProxyCommand, which a look does not start: {first.host}")
    until = time.monotonic() + deadline
    where = f"{first.host}:{first.port}"
    try:
        with _dial(first.host, first.port, until) as sock:
            greeted = _greets(sock, until)
    except OSError as error:
        return Probe(False, connection.failure(error, where, deadline))
    return Probe(True) if greeted else Probe(False, f"{where} is not an SSH server")


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
        raise TimeoutError
    if isinstance(found[0], OSError):
        raise found[0]
    return list(found[0])


def _greets(sock: socket.socket, until: float) -> bool:
    """Read lines until the server says SSH-: the protocol lets it say other things before."""
    said = b"\n"
    while b"\n" + GREETING not in said:
        sock.settimeout(_left(until))
        data = sock.recv(1024)
        said += data
        if not data or len(said) > MOST_GREETING:
            return False
    return True


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
