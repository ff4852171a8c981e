"""A look at a target: is there a Jupyter server that lets us in? Nothing is started there."""

from __future__ import annotations

import threading

from executors.base import ExecutorError, NotInstalled, Probe, Unreachable
from executors.dialing import TCP
from executors.jupyter.address import Address, TokenFile


def probe(address: Address, deadline: float) -> Probe:
    """Ask the server for its kernels, all within `deadline` seconds. Raises nothing."""
    try:
        from executors.jupyter import kernel, server  # noqa: F401 - what entering needs must be there, too
    except ImportError as error:
        return Probe.failed(address.name, not_installed(address.name, error))
    silent = Unreachable(f"{address.name}: no answer from {address.url} within {deadline:g} s", step=TCP)
    found: list[ExecutorError | None] = [silent]
    # In a thread: a resolver knows no deadline, and a server may answer a byte at a time.
    thread = threading.Thread(target=lambda: found.append(_look(address, deadline)), daemon=True)
    thread.start()
    thread.join(deadline)
    steps, failure = server.steps(address.url), found[-1]
    return Probe.failed(address.name, failure, steps) if failure else Probe(True, steps=steps)


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
