"""What tests do to any call: count it, answer another status, or keep its answer back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from threading import Event
from time import monotonic
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from fastapi.routing import APIRoute

TICK = 0.01

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Faults:
    """Knobs, each by the name of a call:

    - `fail`: a status to answer, with a page, as a proxy or a captive portal sends it; nothing else is done
    - `slow`: seconds to keep the answer back; what was asked for has been done by then
    - `silent`: its answer is kept back for as long as the name is in here

    `calls` counts all, those that fail and those that are not let in, too.
    """

    def __init__(self) -> None:
        self.calls = Counter[str]()
        self.fail: dict[str, int] = {}
        self.slow: dict[str, float] = {}
        self.silent: set[str] = set()
        self.over = Event()

    def routes(self) -> type[APIRoute]:
        """The class of routes to which all this happens, by their names."""
        faults = self

        class Faulty(APIRoute):
            def get_route_handler(self) -> Handler:
                return faults._around(self.name, super().get_route_handler())

        return Faulty

    def _around(self, name: str, answer: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            asked = monotonic()
            self.calls[name] += 1
            try:
                return _page(self.fail[name]) if name in self.fail else await answer(request)
            finally:
                while self._holds(name, asked):
                    await asyncio.sleep(TICK)

        return handle

    def _holds(self, name: str, asked: float) -> bool:
        late = name in self.silent or monotonic() - asked < self.slow.get(name, 0)
        return late and not self.over.is_set()


def _page(status: int) -> Response:
    return HTMLResponse(f"<html><title>{status}</title></html>", status)
