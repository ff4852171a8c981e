"""The way to a runtime's Jupyter server: a proxy's url, and a token that is renewed before it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from executors.colab.control import Control

HEADER = "X-Colab-Runtime-Proxy-Token"

EARLY_SECONDS = 300.0
"""How long before its end a token is renewed. One with less than twice that is renewed half-way."""


class ProxyAccess:
    """The access (see `executors.jupyter.address.Access`) to the runtime `endpoint`. Safe from several threads."""

    def __init__(self, name: str, control: Control, endpoint: str) -> None:
        self.relogin = f"offload targets login {name}"
        self._control, self._endpoint = control, endpoint
        self._lock = threading.Lock()
        self._fetch()
        self.url = self._way.url

    def headers(self) -> Mapping[str, str]:
        """A token that is good for a while. Raises Unreachable or Refused."""
        with self._lock:
            if time.monotonic() > self._until:
                self._fetch()
            return {HEADER: self._way.token}

    def renew(self) -> bool:
        """Get another token: this one was refused."""
        with self._lock:
            before = self._way.token
            self._fetch()
            return self._way.token != before

    def _fetch(self) -> None:
        self._way = way = self._control.way(self._endpoint)
        self._until = time.monotonic() + max(way.seconds - EARLY_SECONDS, way.seconds / 2)
