"""Who sends a file, piece by piece, and may fall silent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from server.problems import Refusal

SILENT_SECONDS = 60.0
"""A sender that says nothing for so long is given up: its connection may be dead, and it keeps the next one out."""


async def heard(chunks: AsyncIterator[bytes], hint: str, kept: str = "") -> AsyncIterator[bytes]:
    """What comes. Raises Refusal when nothing does for too long, with a hint, and words on what is `kept`."""
    while True:
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise Refusal(408, f"nothing came for {SILENT_SECONDS:.0f} s{kept}", hint) from error
        if chunk is None:
            return
        yield chunk
