"""Who asked and went: what takes long need not be done for nobody."""

from __future__ import annotations

from starlette.requests import Request


async def left(request: Request) -> None:
    """Wait until a client is gone whose request was read."""
    while (await request.receive())["type"] != "http.disconnect":
        continue
