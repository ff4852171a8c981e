"""The one place that says what is tried again, and how often."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from broker.errors import InputError, IntegrityError, Interrupted, JobFailed, MissingHere
from executors.base import ExecutorError, Gone, Lost, NoSuchFile, OutOfMemory, TransferFailed, Unreachable

TRANSFER_TRIES = 4
RUNS_HERE = 2
"""How often a target that may try again (this machine, or one that is rented anew) may take a job before we give up."""

MOVABLE = (ExecutorError, MissingHere, IntegrityError)
"""Errors of a machine, not of the job: the job may go on elsewhere."""

ABSENT = (Lost, Unreachable)
"""A target that fails so is left alone for a while (see `broker.health`)."""

REPEATABLE = (Lost, NoSuchFile, TransferFailed, IntegrityError)
"""Accidents: this machine may try again. A full disk or a missing package would only be met again."""

ENDING = (*MOVABLE, JobFailed, InputError, Interrupted, KeyboardInterrupt, GeneratorExit)
"""What ends an attempt. After anything else (no room here for a result) it goes on there, and can be taken up again."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0
FOLLOWER_PAUSE = 60.0
"""A follower in the background waits longer between two tries: nobody is looking."""
HEALTHY_SECONDS = 30.0
"""A target that has answered for so long again was only quiet."""

T = TypeVar("T")


class NotByUs(Gone):
    """The job was ended on its target, though it is wanted. The target itself is well."""


class Unprepared(IntegrityError):
    """What was prepared of the inputs went away before it was sent. It can be made again."""


class Starved(OutOfMemory):
    """Memory did not suffice for some items: `items` says why of each. The others are done."""

    def __init__(self, target: str, items: Mapping[int, str]) -> None:
        super().__init__(f"{target}: {next(iter(items.values()))}")
        self.items = dict(items)


def may_be_back(error: BaseException) -> bool:
    """Whether a target that failed so may only be quiet: a link that broke, a machine that sleeps."""
    return isinstance(error, ABSENT) and not isinstance(error, Gone)


class Patience:
    """How long a target that fell silent is waited for: `seconds` from when it did, with growing pauses.

    The clock does not count the time that this machine was suspended itself.
    """

    def __init__(
        self, seconds: float, clock: Callable[[], float] = time.monotonic, longest: float = LONGEST_PAUSE
    ) -> None:
        self._seconds = seconds
        self._longest = longest
        self._clock = clock
        self._silent_since: float | None = None
        self._back_since = 0.0
        self._tries = 0

    @property
    def waiting(self) -> bool:
        """Whether it is silent already, and nothing was heard since."""
        return self._silent_since is not None

    def pause(self) -> float | None:
        """Seconds to wait before the next try; None when it has been long enough."""
        now = self._clock()
        if self._silent_since is None:
            self._silent_since, self._tries = now, 0
        left = self._silent_since + self._seconds - now
        self._tries += 1
        pause = FIRST_PAUSE * 2.0 ** min(self._tries - 1, 10)  # as long as it takes may be very many tries
        return min(pause, self._longest, left) if left > 0 else None

    def back(self) -> None:
        """It answers again. Only once it has for a while, or with `news`, is it forgotten that it was silent."""
        self._back_since = self._clock()

    def heard(self, news: bool) -> None:
        """It has answered, with something new or not."""
        if news or self._clock() - self._back_since > HEALTHY_SECONDS:
            self._silent_since = None


def transfer(move: Callable[[], T]) -> T:
    """Call `move` until the bytes arrive: `TRANSFER_TRIES` times, with growing pauses. Raises TransferFailed."""
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    retrying = Retrying(
        retry=retry_if_exception_type(TransferFailed),
        stop=stop_after_attempt(TRANSFER_TRIES),
        wait=wait_random_exponential(multiplier=0.5, max=5.0),
        reraise=True,
    )
    return retrying(move)
