"""A look at a target: is there a Jupyter server that lets us in? Nothing is started there."""

from __future__ import annotations

import threading

from executors.base import ExecutorError, NotInstalled, Probe, Unreachable
from executors.jupyter.address import Address, TokenFile


def probe(address: Address, deadline: float) -> Probe:
    """Ask the server for its kernels, all within `deadline` seconds. Raises nothing."""
    try:
        from executors.jupyter import server
    except ImportError as error:
        return Probe.failed(address.name, not_installed(address.name, error))
    steps, found = server.steps(address.url), [_silent(address, deadline)]

    def look() -> None:
        found.append(_look(address, deadline))

    # A resolver knows no deadline, and a server may answer a byte at a time.
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(deadline)
    failure = found[-1]
    return Probe.failed(address.name, failure, steps) if failure else Probe(True, steps=steps)


def not_installed(name: str, error: ImportError) -> NotInstalled:
    """The error of a target `name` where its packages cannot be imported here."""
    hint = "pip install 'offload-broker[jupyter]'"
    return NotInstalled(f"{name}: {error.name} is not installed here", step="packages here", hint=hint)


def _silent(address: Address, deadline: float) -> ExecutorError | None:
    from executors.jupyter.server import TCP

    return Unreachable(f"{address.name}: no answer from {address.url} within {deadline:g} s", step=TCP)


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
