"""Connecting to a runtime: the machine may still be starting."""

from __future__ import annotations

import time

from executors.base import Lost, Unreachable
from executors.colab.access import ProxyAccess
from executors.colab.address import ROOT, Address
from executors.colab.control import Control
from executors.colab.places import COLAB, LOGIN, QUOTA, RUNTIME
from executors.jupyter.server import FILES, JUPYTER, KERNEL, WEBSOCKET, Server
from executors.jupyter.session import Session

STEPS = (LOGIN, COLAB, QUOTA, RUNTIME, JUPYTER, FILES, KERNEL, WEBSOCKET)
"""What connecting takes, in order. That Google cannot be reached is a failure of its own."""

START_SECONDS = 120.0
"""How long a runtime that has just been taken may need until its Jupyter server answers."""

PAUSE = 1.0


def session(address: Address, control: Control, endpoint: str, started: float) -> Session:
    """Open a session with the runtime; one that was `started` a moment ago (epoch seconds) is waited for.

    Raises Unreachable, Lost or Refused.
    """
    while True:
        try:
            return _open(address, control, endpoint)
        except (Unreachable, Lost):
            if not started <= time.time() < started + START_SECONDS:
                raise
        time.sleep(PAUSE)


def _open(address: Address, control: Control, endpoint: str) -> Session:
    access = ProxyAccess(address.name, control, endpoint)
    return Session(Server(address.name, access, address.timeout, address.silence), ROOT)
