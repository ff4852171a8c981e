"""The one place that says what is tried again, and how often."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from broker.errors import InputError, IntegrityError, Interrupted, JobFailed, MissingHere
from executors.base import ExecutorError, Lost, NoSuchFile, TransferFailed, Unreachable

TRANSFER_TRIES = 4
RUNS_HERE = 2
"""How often this machine, the last resort, may lose a job before we give up."""

MOVABLE = (ExecutorError, MissingHere, IntegrityError)
"""Errors of a machine, not of the job: the job may go on elsewhere."""

ABSENT = (Lost, Unreachable)
"""A target that fails so is left alone for a while (see `broker.health`)."""

REPEATABLE = (Lost, NoSuchFile, TransferFailed, IntegrityError)
"""Accidents: this machine may try again. A full disk or a missing package would only be met again."""

ENDING = (*MOVABLE, JobFailed, InputError, Interrupted, KeyboardInterrupt, GeneratorExit)
"""What ends an attempt. After anything else (no room here for a result) it goes on there, and can be taken up again."""

T = TypeVar("T")


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
