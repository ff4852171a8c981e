"""Being asked to stop: once politely, twice at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TICK_SECONDS = 0.1


class Stop:
    """Whether somebody asked this process to stop. Looked at between steps, so no step is torn apart.

    One `within` another is asked with it, and may be asked alone.
    """

    def __init__(self, within: Stop | None = None) -> None:
        self._within = within
        self._asked = False
        self._at_once = False

    @property
    def requested(self) -> bool:
        """Whether it was asked."""
        return self._asked or (self._within is not None and self._within.requested)

    def request(self) -> None:
        """Ask for a polite stop."""
        self._asked = True

    def sleep(self, seconds: float) -> None:
        """Sleep, unless somebody asks us to stop before."""
        until = time.monotonic() + seconds
        while not self.requested and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, TICK_SECONDS))

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Listen to Ctrl-C, SIGTERM and SIGHUP: the first is a polite request, the second raises KeyboardInterrupt.

        Later ones find us tidying up already, and change nothing.
        """
        # What was ignored when we started (nohup, a job put in the background) stays ignored.
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._hear) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.requested and not self._at_once:
            self._at_once = True
            raise KeyboardInterrupt
        self.request()
