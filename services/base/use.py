"""One use of a service: from the words a person typed to outputs, a receipt and an exit code."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from broker import scripts, settings
from broker.broker import Broker
from broker.errors import Interrupted, UsageError, batch_exit_code
from broker.job import Job, Request
from broker.plan import Candidate
from broker.stop import Stop
from services.base import inputs as select
from services.base.progress import display
from services.base.service import Params, Service


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
    skip_existing: bool


class Use:
    """One use. `words` are the inputs as typed, `typed` is the whole command, to be typed again.

    Raises UsageError for what makes no sense, before anything has started.
    """

    def __init__(
        self, service: Service, params: Params, choices: Choices, words: Sequence[str], typed: tuple[str, ...]
    ) -> None:
        if choices.overwrite and choices.skip_existing:
            raise UsageError("--overwrite and --skip-existing exclude each other")
        self._service, self._params, self._choices, self._typed = service, params, choices, typed
        paths, self._rejected = select.expand(words, service)
        self._inputs = select.assign(paths, choices.output, service, params)
        self._skipped: list[Path] = []

    def code(self) -> int:
        """Do it; returns the exit code."""
        for entry in self._rejected:
            self._say(f"{entry.path}: {entry.error}", error=True)
        with Broker(settings.load()) as broker:
            if self._choices.dry_run:
                return self._dry_run(broker)
            job = self._job(broker)
            if job is None:
                self._print_paths([])
                return self._exit_code([])
            return self._drive(broker, job)

    def _job(self, broker: Broker) -> Job | None:
        """The job to drive: the unfinished one of the same request, or a new one; None when nothing is to be done."""
        left = broker.unfinished(self._request()) if self._inputs else None
        if left is not None:
            self._say(f"taking up job {left.id}, which was interrupted")
            return left
        self._respect_existing()
        select.make_folders(self._inputs)
        return broker.submit(self._request()) if self._inputs else None

    def _respect_existing(self) -> None:
        taken = {entry.source: select.existing(entry)[0] for entry in self._inputs if select.existing(entry)}
        if self._choices.skip_existing:
            for source, dest in taken.items():
                self._say(f"{source}: skipped, {dest} exists")
            self._skipped = list(taken.values())
            self._inputs = [entry for entry in self._inputs if entry.source not in taken]
        elif taken and not self._choices.overwrite:
            raise UsageError(f"{next(iter(taken.values()))} exists", "add --overwrite, or --skip-existing")

    def _request(self) -> Request:
        return Request(
            service=self._service.name,
            script=scripts.folder() / self._service.script,  # a path of its own stays what it is
            params=self._params.for_script(),
            inputs=tuple(self._inputs),
            on=self._choices.on,
            fallback=not self._choices.no_fallback,
            overwrite=self._choices.overwrite,
            extras=self._service.extras(self._params),
            command=self._typed,
        )

    def _drive(self, broker: Broker, job: Job) -> int:
        stop = Stop()
        names = [item.source for item in job.items]
        with stop.on_signals(), display(self._choices.quiet, names, self._service.describe) as shown:
            try:
                for event in broker.drive(job, stop):
                    shown.show(event)
            except (Interrupted, KeyboardInterrupt):
                stopped = True
            else:
                stopped = False
        job = broker.journal.job(job.id)
        self._print(broker, job)
        return self._stopped(job) if stopped else self._exit_code([item.kind for item in job.items])

    def _stopped(self, job: Job) -> int:
        done = sum(item.done for item in job.items)
        more = ["--skip-existing"] if done and not self._choices.skip_existing else []
        again = shlex.join([*self._typed, *more])
        self._say(f"stopped; {done} of {len(job.items)} finished. To do the rest:\n  {again}", error=True)
        return Interrupted.exit_code

    def _exit_code(self, kinds: list[str | None]) -> int:
        return batch_exit_code([*kinds, *[None] * len(self._skipped), *["bad_input"] * len(self._rejected)])

    def _print(self, broker: Broker, job: Job) -> None:
        if not self._choices.json:
            self._print_paths([output.dest for item in job.items for output in item.outputs if output.published])
            return
        rejected = [{"input": str(entry.path), "kind": "bad_input", "error": entry.error} for entry in self._rejected]
        print(json.dumps(broker.receipt(job.id) | {"rejected": rejected}, indent=2))

    def _print_paths(self, paths: list[Path]) -> None:
        end = b"\0" if self._choices.null else b"\n"
        for path in [*self._skipped, *paths]:
            sys.stdout.buffer.write(bytes(path) + end)
        sys.stdout.buffer.flush()

    def _dry_run(self, broker: Broker) -> int:
        total = sum(entry.source.stat().st_size for entry in self._inputs)
        plan = [_row(candidate) for candidate in broker.plan(self._choices.on, total)]
        if self._choices.json:
            print(json.dumps({"inputs": [str(entry.source) for entry in self._inputs], "plan": plan}, indent=2))
        else:
            for row in plan:
                seconds = "time not known yet" if row["seconds"] is None else f"{row['seconds']:.0f} s"
                print(f"{row['target']}\t{row['send_bytes']} bytes to send\t{seconds}\t{row['reason']}")
        return self._exit_code([None] * len(self._inputs))

    def _say(self, line: str, error: bool = False) -> None:
        if error or not self._choices.quiet:
            print(line, file=sys.stderr, flush=True)


def _row(candidate: Candidate) -> dict[str, object]:
    return {
        "target": candidate.target.name,
        "reachable": candidate.probe.reachable,
        "send_bytes": candidate.send_bytes,
        "seconds": candidate.seconds,
        "reason": candidate.reason,
    }
