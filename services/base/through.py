"""Seeing a job through before a person, whoever drives it: progress, what cut it short, and what to type next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from broker import followers, settings
from broker.broker import Broker
from broker.errors import Interrupted, OffloadError
from broker.events import ItemFailed
from broker.job import Item, Job, State
from broker.models.said import silent
from broker.stop import Stop
from broker.watch import Left
from executors.base import ExecutorError
from services.base.progress import Describe, display, say
from services.base.text import complain, near, plain, typed

Failure = OffloadError | ExecutorError


@contextmanager
def opened(quiet: bool = False, ending: bool = False) -> Iterator[Broker]:
    """An open broker, as every command begins: what one should hear of is said, and detached jobs are being driven.

    With `ending` that is seen to afterwards: a job that is about to end needs no new follower.
    """
    with Broker(settings.load(), silent if quiet else lambda line: say(plain(line))) as broker:
        for notice in broker.notices if not quiet else ():
            say(plain(notice))
        if not ending:
            followers.revive(broker)
        yield broker
        if ending:
            followers.revive(broker)


def see_through(
    broker: Broker, job: Job, describe: Describe, quiet: bool, rest: Callable[[Job], str]
) -> tuple[Job, Failure | None]:
    """Drive or watch a job to its end, or until we are stopped; returns it as it is then, and what cut it short.

    `rest` is the command that does what a stopped job has left.
    """
    failure: Failure | None = None
    stop, names = Stop(), [near(item.source) for item in job.items]
    with stop.on_signals(), display(quiet, names, describe) as shown:
        try:
            for item in job.items if job.state.over else ():
                _remind(item, shown.show)
            for event in broker.drive(job, stop):
                shown.show(event)
        except KeyboardInterrupt:
            failure = Interrupted("stopped at once")
        except (OffloadError, ExecutorError) as error:
            failure = error
    job = broker.journal.job(job.id)
    if job.state.over:
        followers.forget(broker.settings, job.id)
    goes_on = isinstance(failure, Left | Interrupted) and not job.state.over and broker.attended(job.id)
    _explain(job, failure, goes_on, quiet, rest)
    return job, failure


def _remind(item: Item, show: Callable[[ItemFailed], None]) -> None:
    if item.kind is not None:
        show(ItemFailed(item.index, item.kind, item.error or ""))


def _explain(job: Job, failure: Failure | None, goes_on: bool, quiet: bool, rest: Callable[[Job], str]) -> None:
    done = f"{sum(item.done for item in job.items)} of {len(job.items)} done"
    if goes_on:
        ways = [typed(f"offload jobs {verb} {job.id}") for verb in ("attach", "cancel")]
        say(f"job {job.id} goes on. To watch it again, or to end it:\n  {ways[0]}\n  {ways[1]}")
    elif isinstance(failure, Left | Interrupted) or job.state is State.CANCELLED:  # also by somebody else
        say(f"stopped; {done}. To do the rest:\n  {rest(job)}")
    elif failure is not None:
        complain(failure, getattr(failure, "hint", ""))
    elif any(item.kind == "failed" for item in job.items):
        complain("the script failed; it said why", f"offload jobs logs {job.id}")
    elif len(job.items) > 1 and not quiet:
        say(done)
