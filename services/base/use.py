"""One use of a service: from the words a person typed to outputs, a receipt and an exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker import scripts, settings
from broker.broker import Broker
from broker.errors import Interrupted, NoTarget, OffloadError, UsageError
from broker.job import Input, Item, Job, Request
from broker.plan import Candidate
from broker.stop import Stop
from executors.base import ExecutorError
from services.base import inputs as select
from services.base.output import Outcome, print_document, print_paths
from services.base.progress import display, say
from services.base.service import Params, Service
from services.base.text import complain, near, plain, shell

NO_JOB: dict[str, Any] = {"job": None, "state": None, "error": None, "items": [], "attempts": []}
"""What stands in the document when there was nothing to do."""


@dataclass(frozen=True)
class Choices:
    """What every service lets a person choose, apart from its own parameters."""

    output: str | None
    on: str
    no_fallback: bool
    dry_run: bool
    json: bool
    null: bool
    quiet: bool
    overwrite: bool
    keep: bool
    skip_existing: bool


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
        self._words, self._typed = words, typed
        paths, self._rejected = select.expand(words, service)
        select.check_one_file(choices.output, len(paths) + len(self._rejected))
        self._inputs = select.assign(paths, choices.output, service, params)
        self._skipped: list[Input] = []

    def code(self) -> int:
        """Do it; returns the exit code."""
        for entry in self._rejected:
            say(f"{near(entry.path)}: {entry.error}")
        with Broker(settings.load()) as broker:
            if self._choices.dry_run:
                return self._preview(broker)
            job = self._job(broker)
            if job is not None:
                return self._drive(broker, job)
        return self._end(NO_JOB, Outcome(self._rejected, self._skipped))

    def _job(self, broker: Broker) -> Job | None:
        """The job to drive: the unfinished one of the same request, or a new one; None when nothing is to be done."""
        seen = broker.journal.place()
        left = broker.unfinished(self._request()) if self._inputs else None
        if left is not None:
            if not broker.driven(left.id):
                self._tell(f"going on with job {left.id}, which was interrupted")
            return left
        self._respect_existing()
        select.check_folders(self._inputs, self._choices.output, make=True)
        return broker.submit(self._request(), seen) if self._inputs else None

    def _respect_existing(self) -> None:
        if self._choices.skip_existing:
            self._skipped = [entry for entry in self._inputs if len(select.existing(entry)) == len(entry.outputs)]
            self._inputs = [entry for entry in self._inputs if entry not in self._skipped]
            for entry in self._skipped:
                self._tell(f"{near(entry.source)}: left alone, {near(select.existing(entry)[0])} exists")
        taken = [dest for entry in self._inputs for dest in select.existing(entry)]
        if taken and not self._choices.overwrite:
            others = f", and {len(taken) - 1} more" if len(taken) > 1 else ""
            hint = "add --overwrite to replace, --skip-existing to leave alone, or -o to write elsewhere"
            raise UsageError(f"{near(taken[0])} exists{others}", hint)

    def _request(self) -> Request:
        return Request(
            service=self._service.name,
            script=scripts.folder() / self._service.script,  # a path of its own stays what it is
            params=self._params.for_script(),
            inputs=tuple(self._inputs),
            on=self._choices.on,
            fallback=not self._choices.no_fallback,
            overwrite=self._choices.overwrite,
            keep=self._choices.keep,
            extras=self._service.extras(self._params),
            command=self._command(self._words),
            folder=Path.cwd(),
        )

    def _command(self, words: Sequence[str], *more: str) -> tuple[str, ...]:
        dashes = ["--"] if any(word.startswith("-") for word in words) else []
        return (*self._typed, *more, *dashes, *words)

    def _drive(self, broker: Broker, job: Job) -> int:
        failure: OffloadError | ExecutorError | None = None
        stop, names = Stop(), [near(item.source) for item in job.items]
        with stop.on_signals(), display(self._choices.quiet, names, self._service.describe) as shown:
            try:
                for event in broker.drive(job, stop):
                    shown.show(event)
            except KeyboardInterrupt:
                failure = Interrupted("stopped at once")
            except (OffloadError, ExecutorError) as error:
                failure = error
        job = broker.journal.job(job.id)
        self._explain(job, failure)
        return self._end(broker.receipt(job.id), Outcome(self._rejected, self._skipped, job.items, failure))

    def _explain(self, job: Job, failure: OffloadError | ExecutorError | None) -> None:
        done = sum(item.done for item in job.items)
        if isinstance(failure, Interrupted):
            say(f"stopped; {done} of {len(job.items)} done. To do the rest:\n  {shell(self._rest(job.items))}")
        elif failure is not None:
            complain(failure, getattr(failure, "hint", ""))
        elif any(item.kind == "failed" for item in job.items):
            complain("the script failed; it said why", f"offload jobs logs {job.id}")
        elif len(job.items) > 1:
            self._tell(f"{done} of {len(job.items)} done")

    def _rest(self, items: Sequence[Item]) -> tuple[str, ...]:
        """The command that does what is left."""
        if not any(item.done for item in items):
            return self._command(self._words)
        if self._choices.overwrite:  # that an output exists does not tell that it is done: name the rest
            return self._command([str(item.source) for item in items if not item.done])
        return self._command(self._words, *([] if self._choices.skip_existing else ["--skip-existing"]))

    def _end(self, receipt: Mapping[str, Any], outcome: Outcome) -> int:
        if self._choices.json:
            print_document(outcome.document(receipt))
        else:
            print_paths(outcome.paths, self._choices.null)
        return outcome.code

    def _preview(self, broker: Broker) -> int:
        """Say what would be done. Nothing is: no folder is made, no job recorded."""
        self._respect_existing()
        select.check_folders(self._inputs, self._choices.output, make=False)
        for entry in self._inputs:
            self._tell(f"{near(entry.source)} -> {', '.join(map(near, entry.outputs.values()))}")
        total = sum(entry.source.stat().st_size for entry in self._inputs)
        plan = broker.plan(self._choices.on, total) if self._inputs else []
        stuck = bool(self._inputs) and not any(candidate.probe.reachable for candidate in plan)
        failure = NoTarget("no target can be reached") if stuck else None
        outcome = Outcome(self._rejected, self._skipped, (), failure, self._inputs)
        rows = [_row(candidate) for candidate in plan]
        if self._choices.json:
            print_document(outcome.document({"plan": rows}))
        else:
            print("".join(f"{_line(row)}\n" for row in rows), end="", flush=True)
        if failure:
            complain(failure, "offload targets ls")
        return outcome.code

    def _tell(self, line: str) -> None:
        if not self._choices.quiet:
            say(line)


def _row(candidate: Candidate) -> dict[str, Any]:
    return {
        "target": candidate.target.name,
        "reachable": candidate.probe.reachable,
        "send_bytes": candidate.send_bytes,
        "seconds": candidate.seconds,
        "reason": candidate.reason,
    }


def _line(row: Mapping[str, Any]) -> str:
    seconds = "time not known yet" if row["seconds"] is None else f"{row['seconds']:.0f} s"
    return f"{row['target']}\t{row['send_bytes']} bytes to send\t{seconds}\t{plain(row['reason'])}"
