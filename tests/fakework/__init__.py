"""A service whose script pretends to work: slow on request, failing on request, the same bytes every time."""

from __future__ import annotations

import hashlib

SIZE = 200_000


def expected(data: bytes, size: int = SIZE) -> bytes:
    """What the script makes of an input's content."""
    return hashlib.shake_256(data).digest(size)


def digest(data: bytes) -> bytes:
    """What its second output holds, when asked for."""
    return hashlib.sha256(data).hexdigest().encode()
