"""How a job stands, as people see it: in one word, and what it waits for."""

from __future__ import annotations

import time
from collections.abc import Collection

from broker.broker import Broker
from broker.job import Job
from broker.places import Places
from broker.queue import Head


def state(broker: Broker, job: Job, driven: Collection[str] = ()) -> str:
    """State of a job as people see it: one that nobody drives is interrupted.

    `driven` are those that were driven before it was read: a driver writes its last word before it goes.
    """
    if job.state.over:
        return job.state.value
    if job.id not in driven and not broker.driven(job.id):
        return "interrupted" if not job.detached or job.id in broker.journal.queue.begun() else _queued(broker, job)
    if broker.journal.ending(job.id).error:
        return "waiting"
    return "detached" if job.detached else job.state.value


def _queued(broker: Broker, job: Job) -> str:
    return "waiting" if Places(broker).why(Head.of(job)) else "queued"


def why(broker: Broker, job: Job, driven: Collection[str] = ()) -> str:
    """What a job waits for, empty when it does not; `driven` as for `state`."""
    if job.state.over:
        return ""
    if job.id in driven or broker.driven(job.id) or state(broker, job) == "interrupted":
        return broker.journal.ending(job.id).error
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
    return f"{Places(broker).why(Head.of(job)) or 'waiting for its turn'}, since {since}"


def hint(broker: Broker, job: Job) -> str:
    """What to type next for a job that failed; empty where its errors say all there is."""
    logs = f"offload jobs logs {job.id}" if any(item.kind == "failed" for item in job.items) else ""
    return broker.journal.ending(job.id).hint or logs
