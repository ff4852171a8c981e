"""One use of a service: from the words a person typed to outputs, a receipt and an exit code."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker import followers
from broker.broker import Broker
from broker.errors import NoTarget, UsageError
from broker.job import Input, Job, Request
from broker.places import Places
from broker.plan import Candidate
from broker.queue import Head
from services.base import inputs as select
from services.base.output import Outcome, deliver, print_document
from services.base.planned import check_services, line, row, why
from services.base.progress import say
from services.base.request import Terms, request
from services.base.service import Params, Service
from services.base.text import complain, near, plain, shell, typed
from services.base.through import opened, see_through
from services.base.weighing import estimated, weigh

NO_JOB: dict[str, Any] = {"job": None, "state": None, "error": None, "items": [], "attempts": []}
"""What stands in the document when there was nothing to do."""


@dataclass(frozen=True)
class Choices:
    """What every service lets a person choose, apart from its own parameters."""

    output: str | None
    on: str
    no_fallback: bool
    dry_run: bool
    detach: bool
    json: bool
    null: bool
    quiet: bool
    overwrite: bool
    keep: bool
    skip_existing: bool
    apart: bool
    no_cache: bool
    spread: bool
    when: str
    deadline: float | None
    priority: int

    @property
    def terms(self) -> Terms:
        """What of it the job is told. Raises UsageError for what makes no sense."""
        return Terms(
            on=self.on,
            fallback=not self.no_fallback,
            overwrite=self.overwrite,
            keep=self.keep,
            cache=not self.no_cache,
            spread=self.spread,
            when=self.when,
            deadline=self.deadline,
            priority=self.priority,
            detached=self.detach,
        )


class Use:
    """One use. `words` are the inputs as typed, `typed` is the command before them, to be typed again.

    Raises UsageError for what makes no sense, before anything has started.
    """

    def __init__(
        self, service: Service, params: Params, choices: Choices, words: Sequence[str], typed: Sequence[str]
    ) -> None:
        if choices.overwrite and choices.skip_existing:
            raise UsageError("--overwrite and --skip-existing exclude each other")
        self._service, self._params, self._choices = service, params, choices
        self._words, self._typed, self._terms = words, typed, choices.terms
        paths, rejected = select.expand(words, service)
        select.check_one_file(choices.output, len(paths) + len(rejected))
        self._inputs, clashing = select.distinct(select.assign(paths, choices.output, service, params, choices.apart))
        self._rejected = [*rejected, *clashing]
        self._skipped: list[Input] = []

    def code(self) -> int:
        """Do it; returns the exit code."""
        _say_rejected(self._rejected)
        with opened(self._choices.quiet) as broker:
            check_services(broker.settings, self._service.name)
            if self._choices.dry_run:
                return self._preview(broker)
            job = self._job(broker)
            if job is not None:
                weigh(broker, job, self._service, self._params, self._terms.background)
                return self._detach(broker, job) if self._terms.background else self._drive(broker, job)
        outcome = Outcome(self._rejected, self._skipped)
        if self._terms.background and not self._choices.json:  # ids are expected, and there is none
            return outcome.code
        return self._end(NO_JOB, outcome)

    def _job(self, broker: Broker) -> Job | None:
        """The job to drive: the unfinished one of the same request, or a new one; None when nothing is to be done."""
        seen = broker.journal.place()
        left = broker.unfinished(self._request()) if self._inputs else None
        if left is not None:
            if not broker.driven(left.id):
                what = "waits" if broker.attended(left.id) else "was interrupted"
                self._tell(f"going on with job {left.id}, which {what}")
            return self._anew(broker, left)
        self._respect_existing()
        self._check_folders(make=True)
        return broker.submit(self._request(), seen) if self._inputs else None

    def _check_folders(self, make: bool) -> None:
        select.check_folders(self._inputs, self._choices.output, make, self._choices.apart)

    def _anew(self, broker: Broker, job: Job) -> Job:
        """A job that was typed before, to run when it is said now; how it does that was said then."""
        self._tell_what_stays(job)
        now = (self._terms.waits, self._terms.deadline, self._terms.priority)
        if (job.waits, job.deadline, job.priority) != now:
            broker.journal.queue.change(job.id, *now)
            followers.revive(broker)
        return job

    def _tell_what_stays(self, job: Job) -> None:
        typed_now = {"--no-cache": self._choices.no_cache, "--spread": self._choices.spread}
        before = {"--no-cache": not job.cache, "--spread": job.spread}
        for flag in [flag for flag, now in typed_now.items() if now != before[flag]]:
            self._tell(
                f"it goes on {'with' if before[flag] else 'without'} {flag}, as it was begun; to have it otherwise:"
                f" {typed(f'offload jobs cancel {job.id}')}, and type this again"
            )

    def _respect_existing(self) -> None:
        if self._choices.skip_existing:
            self._skip_existing()
            return
        taken = [dest for entry in self._inputs for dest in select.existing(entry)]
        if taken and not self._choices.overwrite:
            others = f", and {len(taken) - 1} more" if len(taken) > 1 else ""
            hint = "add --overwrite to replace, --skip-existing to leave alone, or -o to write elsewhere"
            raise UsageError(f"{near(taken[0])} exists{others}", hint)

    def _skip_existing(self) -> None:
        """Leave inputs alone whose outputs exist. Those with a part of them are for the person to decide."""
        self._inputs, self._skipped, partly = select.by_existing(self._inputs, self._params)
        for entry in self._skipped:
            self._tell(f"{near(entry.source)}: left alone, {near(select.existing(entry)[0])} exists")
        _say_rejected(partly)
        self._rejected += partly

    def _request(self) -> Request:
        command, session = self._command(self._words), f"{os.getsid(0)}"
        return request(self._service, self._params, self._inputs, self._terms, command, Path.cwd(), session)

    def _command(self, words: Sequence[str], *more: str) -> tuple[str, ...]:
        dashes = ["--"] if any(word.startswith("-") for word in words) else []
        return (*self._typed, *more, *dashes, *words)

    def _drive(self, broker: Broker, job: Job) -> int:
        job, failure = see_through(broker, job, self._service.describe, self._choices.quiet, self._rest)
        return self._end(broker.receipt(job.id), Outcome(self._rejected, self._skipped, job.items, failure))

    def _rest(self, job: Job) -> str:
        return shell(self._to_do(job))

    def _to_do(self, job: Job) -> tuple[str, ...]:
        if not any(item.done for item in job.items):
            return self._command(self._words)
        if self._choices.overwrite:  # that an output exists does not tell that it is done: name the rest
            return self._command([str(item.source) for item in job.items if not item.done])
        return self._command(self._words, *([] if self._choices.skip_existing else ["--skip-existing"]))

    def _detach(self, broker: Broker, job: Job) -> int:
        """Leave the job to the background."""
        broker.journal.detach(job.id)  # it may have been begun by a command that stayed
        followers.fill(broker)
        where = Places(broker).why(Head.of(job)) if not broker.driven(job.id) else ""
        goes_on = f"it is {where}, in the background" if where else "it goes on in the background"
        self._tell(f"{plain(goes_on)}; to watch it: {typed(f'offload jobs attach {job.id}')}")
        outcome = Outcome(self._rejected, self._skipped, planned=self._inputs)
        if self._choices.json:
            print_document(outcome.document(broker.receipt(job.id)))
        else:
            print(job.id, flush=True)
        return outcome.code

    def _end(self, receipt: Mapping[str, Any], outcome: Outcome) -> int:
        return deliver(outcome, receipt, self._choices.json, self._choices.null)

    def _preview(self, broker: Broker) -> int:
        """Say what would be done. Nothing is: no folder is made, no job recorded."""
        self._respect_existing()
        self._check_folders(make=False)
        for entry in self._inputs:
            self._tell(f"{near(entry.source)} -> {', '.join(map(near, entry.outputs.values()))}")
        weights = estimated(self._service, self._params, [entry.source for entry in self._inputs])
        plan = broker.preview(self._request(), weights) if self._inputs else []
        made = broker.made_before(self._request()) if self._inputs else []
        stuck = len(made) < len(self._inputs) and not any(candidate.probe.reachable for candidate in plan)
        waits = stuck and bool(self._terms.waits)
        failure = NoTarget("no target can be reached") if stuck and not waits else None
        outcome = Outcome(self._rejected, self._skipped, (), failure, self._inputs)
        rows = [row(candidate) for candidate in plan]
        if self._choices.json:
            print_document(outcome.document({"plan": rows, "cached": [str(source) for source in made]}))
        else:
            print("".join(f"{line(one)}\n" for one in rows), end="", flush=True)
            self._tell_why(plan)
            self._tell_made(made)
            if waits:
                self._tell("no other machine can take it now: it would wait for one")
        if failure:
            complain(failure, "offload targets ls")
        return outcome.code

    def _tell_why(self, plan: Sequence[Candidate]) -> None:
        if sentence := why(plan):
            self._tell(sentence)

    def _tell_made(self, made: Sequence[Path]) -> None:
        if made:
            which = "this was" if len(made) == len(self._inputs) == 1 else f"{len(made)} of {len(self._inputs)} were"
            self._tell(f"{which} made before: the cache answers; --no-cache makes it anew")

    def _tell(self, line: str) -> None:
        if not self._choices.quiet:
            say(line)


def _say_rejected(rejected: Sequence[select.Rejected]) -> None:
    for entry in rejected:
        say(f"{near(entry.path)}: {entry.error}")
