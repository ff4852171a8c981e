"""The Jupyter executor. httpx and websockets are imported when a target is looked at or entered, not before."""

from __future__ import annotations

from typing import Self

from executors.base import ExecutorError, Probe
from executors.jupyter.address import Address, TokenFile
from executors.jupyter.served import Served


class JupyterExecutor(Served):
    """Runs on the machine of the server at `url` (jupyter+http[s]://host[:port][/base/]), in a kernel of its own.

    Options: `token_file`, and what else `Address` says.
    """

    def probe(self, deadline: float) -> Probe:
        """See whether a Jupyter server lets us in."""
        from executors.jupyter import probe

        try:
            return probe.probe(Address.of(self.name, self.options), deadline)
        except ExecutorError as error:
            return Probe.failed(self.name, error)

    def __enter__(self) -> Self:
        """Connect, make the root and start a kernel. Raises Unreachable, Refused or NotInstalled."""
        from executors.jupyter.probe import not_installed

        try:
            from executors.jupyter.server import Server
            from executors.jupyter.session import Session
        except ImportError as error:
            raise not_installed(self.name, error) from error
        address = Address.of(self.name, self.options)
        access = TokenFile(self.name, address.url, address.token_file)
        server = Server(self.name, access, address.timeout, address.silence, address.ca)
        self._session = Session(server, address.root)
        return self
