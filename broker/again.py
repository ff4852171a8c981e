"""What is missing of a job is to be done: the same, whoever asks for it."""

from __future__ import annotations

import math
import time

from broker import waiting
from broker.broker import Broker
from broker.job import Job, State
from broker.lease import Held

PAUSE_SECONDS = 0.1


def again(broker: Broker, job: Job, patience: float = math.inf) -> Job:
    """The job, open again where it was over without success, and allowed here again where it waits for another machine.

    Raises Held when somebody else has it in hand for longer than `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while job.state.over and job.state is not State.DONE:
        try:
            broker.reopen(job)
        except Held:  # somebody else is about to, or has just ended it
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)
        job = broker.journal.job(job.id)
    waiting.here_again(broker.journal, job)
    return broker.journal.job(job.id)
