"""Followers: a process in the background that sees a detached job through, as long as it takes.

The command that starts one takes the job's lease and hands it over, so there is no moment at which nobody holds it. A
follower may die at any moment and of any signal: the job goes on where it runs, and the next service, `jobs` or
`doctor` command starts another follower. Only `offload jobs cancel` ends the job.

There are as many as can run at a time, and one that waits for its turn; all other jobs wait in the journal, with nobody
at them. A follower that ends starts the next; what is left to wait for is the scheduler's.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from broker import background, keeper, lease, settings
from broker.broker import Broker
from broker.errors import Interrupted, LimitError, OffloadError, OutOfReach
from broker.events import Event, ItemFailed, Note, Progress, Published, Started
from broker.job import Job
from broker.ledger import Ledger
from broker.places import Places
from broker.policy import FOLLOWER_PAUSE, Patience
from broker.queue import Head
from broker.stop import Stop
from broker.turns import GaveWay, Late
from executors.base import ExecutorError
from executors.unasked import OFFLINE

PASSING = (OutOfReach, LimitError)
"""What a follower waits for the end of: a target that is away, a full disk here."""


def start(broker: Broker, job: Job) -> None:
    """Give an open job to a follower, unless a process drives it. Raises OffloadError when none can be started."""
    with suppress(lease.Held):  # it is driven
        lock = broker.take_lease(job)
        try:
            background.spawn(__name__, log_path(broker.settings, job.id), job.id, lock)
        except OSError as error:
            what = f"job {job.id} is recorded, but no process can be started for it: {error.strerror}"
            raise OffloadError(what, f"offload jobs attach {job.id}") from error
        finally:
            os.close(lock)


def log_path(config: settings.Settings, job: str) -> Path:
    """Where a job's followers write, until it is over."""
    return config.state_dir / "followers" / f"{job}.log"


def forget(config: settings.Settings, job: str) -> None:
    """Leave nothing of the followers of a job that is over."""
    log_path(config, job).unlink(missing_ok=True)


def revive(broker: Broker) -> None:
    """Start the followers that there should be, and a keeper for each rented machine."""
    keeper.revive(broker.settings, broker.targets)
    with suppress(OffloadError):  # the command at hand is about something else, and the next one tries again
        fill(broker)


def fill(broker: Broker, but: str = "") -> None:
    """Start followers: for what has begun and lost its own, and for what is next in the queue while there is room.

    Not for the job `but`. What remains is left to the scheduler. Raises OffloadError when no process can be started.
    """
    places, driven = Places(broker), broker.drivers()
    for job in broker.journal.queue.begun():
        if job not in driven and job != but and not _runs_unasked(broker, job) and not _wrong(broker, places, job):
            start(broker, broker.journal.job(job))
            driven.add(job)
    heads = places.heads(driven, but)
    while chosen := next((head for head in heads if places.has_room(head, driven)), None):
        start(broker, broker.journal.job(chosen.id))
        driven.add(chosen.id)
        heads = places.heads(driven, but)
    left = heads or (but and broker.journal.queue.heads(driven))
    if left and not broker.settings.offline:
        _leave_to_scheduler(broker)


def _leave_to_scheduler(broker: Broker) -> None:
    from broker import scheduler  # which is for starting us

    try:
        scheduler.ensure(broker)
    except OSError as error:
        what = f"jobs wait, but no process can be started to look after them: {error.strerror}"
        raise OffloadError(what, "offload jobs ls") from error


def _runs_unasked(broker: Broker, job: str) -> bool:
    # A follower that may ask nobody would wait for ever, and keep others from the job.
    running = [attempt.target for attempt in broker.journal.attempts(job) if attempt.state == "running"]
    return any(name in broker.targets and broker.targets[name].kind == OFFLINE for name in running)


def _wrong(broker: Broker, places: Places, job: str) -> str:
    """What must be mended before a follower could do anything: until then it would be started again and again."""
    return places.wrong(Head.of(broker.journal.job(job))) if broker.settings.rules else ""


def follow(broker: Broker, job: Job, handed: int) -> Iterator[Event]:
    """Drive a job under a lease that was handed over, and wait out what passes. Raises as `Broker.go_on`."""
    stop, patience = Stop(), Patience(math.inf, longest=FOLLOWER_PAUSE)
    again = Patience(math.inf, longest=FOLLOWER_PAUSE)  # progress does not shorten it
    with broker.driving(job, stop, handed) as ledger:
        while True:
            try:
                yield from _round(broker, ledger, stop, patience)
                return
            except GaveWay:
                return
            except Late:
                continue
            except PASSING as error:
                begun = _has_begun(ledger)
                if not stop.requested and isinstance(error, OutOfReach) and not begun and _is_away(broker, ledger):
                    yield Note(str(error))
                    return  # the scheduler asks for all that wait
                if stop.requested:
                    broker.close_cancelled(ledger)
                    raise Interrupted("the job was cancelled") from error
                with suppress(LimitError):  # the full disk may be the journal's
                    ledger.remark(str(error))
                yield Note(f"{error}; waiting")
            stop.sleep((patience if begun else again).pause() or 0.0)


def _is_away(broker: Broker, ledger: Ledger) -> bool:
    # Else the scheduler would start it again at once, and so without end.
    return bool(Places(broker).why(Head.of(ledger.job)))


def _may_start(broker: Broker, job: str) -> bool:
    return Places(broker).has_place(Head.of(broker.journal.job(job)))


def _has_begun(ledger: Ledger) -> bool:
    return any(attempt.state == "running" for attempt in ledger.attempts)


def _round(broker: Broker, ledger: Ledger, stop: Stop, patience: Patience) -> Iterator[Event]:
    waiting = True
    for event in broker.go_on(ledger, stop, partial(_may_start, broker)):
        if waiting and isinstance(event, Progress | Published | ItemFailed):
            waiting = False
            patience.heard(news=True)
            ledger.remark("")
        yield event


def main() -> None:
    """Be a follower: of the job, under the lease, that the command line names."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # like any other signal: whoever wants the job's end cancels it
    job, handed = sys.argv[1], int(sys.argv[2])
    with Broker(settings.load()) as broker:
        try:
            for event in follow(broker, broker.journal.job(job), handed):
                _tell(event)
        except (OffloadError, ExecutorError) as error:
            _tell(Note(str(error)))
        if not broker.journal.with_prefix(job) or broker.journal.job(job).state.over:
            forget(broker.settings, job)
        with suppress(OffloadError):  # what waits is seen to by the scheduler, or the next command
            fill(broker, but=job)


def _tell(event: Event) -> None:
    match event:
        case Started(target, reason):
            line = f"running on {target}: {reason}"
        case Note(message):
            line = message
        case ItemFailed(index, _, error):
            line = f"item {index}: {error}"
        case _:
            return
    with suppress(OSError):  # no room for a log is no reason to leave the job
        print(time.strftime("%Y-%m-%d %H:%M:%S"), ascii(line)[1:-1], flush=True)
