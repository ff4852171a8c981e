"""Ports of this machine."""

from __future__ import annotations

import socket


def reserved() -> socket.socket:
    """Hold a port of this machine, at which nothing listens yet: nobody else is given it."""
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # who listens there sets it, too
    place.bind(("127.0.0.1", 0))
    return place
