"""What tests do to any call: count it, slow it, leave it without an answer, or answer another status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Event, RLock
from time import monotonic

from fastapi import Request
from fastapi.responses import HTMLResponse, Response

TICK = 0.01


class Instead(Exception):
    """Answered in a page's place."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status}")
        self.status = status


class Faults:
    """Knobs, by the name of a call: `fail`, statuses to answer; `slow`, seconds to wait first; `silent`, no answer while
    the name is in it. `calls` counts all calls, those that fail too."""

    def __init__(self) -> None:
        self.calls = Counter[str]()
        self.fail: dict[str, int] = {}
        self.slow: dict[str, float] = {}
        self.silent: set[str] = set()
        self.over = Event()
        self._lock = RLock()

    def before(self, name: str) -> Callable[[], None]:
        """What comes before each call of this name."""

        def before() -> None:
            with self._lock:
                self.calls[name] += 1
            asked = monotonic()
            while name in self.silent or monotonic() - asked < self.slow.get(name, 0):
                if self.over.wait(TICK):
                    raise Instead(503)
            if name in self.fail:
                raise Instead(self.fail[name])

        return before


def page(request: Request, instead: Instead) -> Response:
    """Make the page that stands in for an answer: HTML, as proxies and captive portals send it."""
    return HTMLResponse(f"<html><title>{instead.status}</title>", instead.status)
