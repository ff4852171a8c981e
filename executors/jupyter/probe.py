"""A look at a target: is there a Jupyter server that lets us in? Nothing is started there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from executors.base import ExecutorError, NotInstalled, Probe, Unreachable
from executors.dialing import TCP
from executors.jupyter.address import Address, TokenFile

T = TypeVar("T")


def probe(address: Address, deadline: float) -> Probe:
    """Ask the server for its kernels, all within `deadline` seconds. Raises nothing."""
    try:
        from executors.jupyter import kernel, server  # noqa: F401 - what entering needs must be there, too
    except ImportError as error:
        return Probe.failed(address.name, not_installed(address.name, error))
    silent = Unreachable(f"{address.name}: no answer from {address.url} within {deadline:g} s", step=TCP)
    steps = server.steps(address.url)
    late = Probe.failed(address.name, silent, steps)
    return in_time(deadline, lambda: _seen(_look(address, deadline), address, steps), late)


def _seen(failure: ExecutorError | None, address: Address, steps: tuple[str, ...]) -> Probe:
    return Probe.failed(address.name, failure, steps) if failure else Probe(True, steps=steps)


def in_time(deadline: float, look: Callable[[], T], late: T) -> T:
    """What `look` finds within `deadline` seconds, else `late`."""
    found = [late]
    # In a thread: a resolver knows no deadline, and a server may answer a byte at a time.
    thread = threading.Thread(target=lambda: found.append(look()), daemon=True)
    thread.start()
    thread.join(deadline)
    return found[-1]


def not_installed(name: str, error: ImportError, extra: str = "jupyter") -> NotInstalled:
    """The error of a target `name` where its packages, which `extra` installs, cannot be imported here."""
    hint = f"pip install 'offload-broker[{extra}]'"
    return NotInstalled(f"{name}: {error.name} is not installed here", step="packages here", hint=hint)


def _look(address: Address, deadline: float) -> ExecutorError | None:
    from executors.jupyter.server import Server

    try:
        access = TokenFile(address.name, address.url, address.token_file)
        server = Server(address.name, access, deadline, deadline, address.ca)
    except ExecutorError as error:
        return error
    try:
        server.look()
    except ExecutorError as error:
        return error
    finally:
        server.close()
    return None
