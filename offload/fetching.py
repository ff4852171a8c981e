"""`offload models prefetch`: pinning models, seeing whether there is room, having them fetched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from broker import models
from broker.errors import PARTLY, Interrupted, OffloadError
from broker.models import catalogue, store
from broker.models.catalogue import Entry
from broker.models.pin import Pin
from broker.models.prefetch import Visit, visit
from broker.settings import Settings
from broker.stop import Stop
from broker.targets import LOCAL, Target
from executors.base import ExecutorError
from services.base.progress import say
from services.base.text import complain, plain


def _stopped() -> Interrupted:
    return Interrupted("stopped; what was fetched counts", "type it again")


@dataclass
class Fetching:
    """One use of it: what fails is said at once, and the rest is done."""

    config: Settings
    target: Target
    quiet: bool

    def __post_init__(self) -> None:
        self._codes: list[int] = []
        self._stop = Stop()

    def code(self, wanted: Iterable[Entry]) -> int:
        """Do it; returns the exit code."""
        try:
            pins = [pin for entry in wanted if (pin := self._pinned(entry))]  # Ctrl-C ends this at once
            with self._stop.on_signals():
                self._fetch(pins)
        except KeyboardInterrupt:
            self._failed(_stopped())
            return Interrupted.exit_code
        except (OffloadError, ExecutorError) as error:  # of all that are left
            complain(error, error.hint)
            return PARTLY if 0 in self._codes and error.exit_code != Interrupted.exit_code else error.exit_code
        return self._codes[0] if len(set(self._codes)) == 1 else PARTLY

    def _pinned(self, entry: Entry) -> Pin | None:
        try:
            pin = models.resolve(entry.source, self.config, entry.name, tell=self._say)
            if self.config.offline and self.target.name == LOCAL and store.missing(pin, self.config):
                raise catalogue.absent([entry])
        except OffloadError as error:
            self._failed(error)
            return None
        return pin

    def _fetch(self, pins: list[Pin]) -> None:
        if not pins:
            return
        with visit(self.target, self.config, self._stop, take=True) as there:
            there.check_room(pins)
            for pin in pins:
                self._check_stopped()
                self._bring(there, pin)

    def _bring(self, there: Visit, pin: Pin) -> None:
        try:
            for note in there.bring(pin):
                self._say(note.message)
        except Interrupted:
            raise
        except OffloadError as error:
            self._failed(error)
            return
        self._codes.append(0)
        print(plain(pin.name), flush=True)

    def _say(self, message: str) -> None:
        if not self.quiet:
            say(plain(message))

    def _failed(self, error: OffloadError | ExecutorError) -> None:
        complain(error, error.hint)
        self._codes.append(error.exit_code)

    def _check_stopped(self) -> None:
        if self._stop.requested:
            raise _stopped()
