"""`offload jobs`: look at jobs, end them, forget them."""

from __future__ import annotations

import time

import click

from broker import settings
from broker.broker import Broker
from broker.errors import OffloadError
from broker.job import Job
from offload.story import story
from services.base.output import print_document
from services.base.progress import say
from services.base.text import near, plain


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        with Broker(settings.load()) as broker:
            return [job.id for job in broker.journal.jobs() if job.id.startswith(incomplete)]
    except OffloadError:  # a prompt is no place for a complaint: the command itself makes it
        return []


_as_json = click.option("--json", "as_json", is_flag=True, help="print one JSON document")
_one_job = click.argument("job", shell_complete=_complete)
_some_jobs = click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=_complete)


@click.group(help="Look at jobs, end them, forget them. A job is named by its id, or by how that begins.")
def jobs() -> None:
    """Verbs on jobs."""


@jobs.command(help="List the latest jobs, newest first.")
@click.option("-n", "--number", type=click.IntRange(min=1), default=20, show_default=True, help="how many")
@_as_json
def ls(number: int, as_json: bool) -> None:
    """List jobs."""
    with Broker(settings.load()) as broker:
        found = broker.journal.jobs(number)
        rows = [_row(broker, job) for job in found]
    if as_json:
        print_document(rows)
        return
    for job, row in zip(found, rows, strict=True):
        first, others = near(job.items[0].source), len(job.items) - 1
        what = f"{first} and {others} more" if others else first
        print(f"{job.id}\t{row['state']}\t{job.service}\t{row['progress']:.0%}\t{_ago(job)}\t{what}")
    if not rows:
        say("no jobs yet")


def _row(broker: Broker, job: Job) -> dict[str, object]:
    return {
        "job": job.id,
        "state": state(broker, job),
        "service": job.service,
        "progress": sum(broker.journal.progress(job.id)) / len(job.items),
        "created": job.created,
        "first": str(job.items[0].source),
        "items": len(job.items),
    }


def _ago(job: Job) -> str:
    seconds = max(0.0, time.time() - job.created)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def state(broker: Broker, job: Job) -> str:
    """State of a job as people see it: one that nobody drives is interrupted."""
    return job.state.value if job.state.over or broker.driven(job.id) else "interrupted"


@jobs.command(help="Show a job: its items, what was tried where, and the outputs.")
@_one_job
@_as_json
def show(job: str, as_json: bool) -> None:
    """Show one job's receipt."""
    with Broker(settings.load()) as broker:
        found = broker.find(job)
        receipt = broker.receipt(found.id)
        if as_json:
            print_document(receipt)
        else:
            print(story(receipt, state(broker, found), found.command))


@jobs.command(help="Print what the job's script logged, attempt by attempt.")
@_one_job
def logs(job: str) -> None:
    """Print a job's logs."""
    with Broker(settings.load()) as broker:
        for attempt, text in broker.logs(broker.find(job)):
            print(f"--- attempt {attempt.number} on {attempt.target}: {attempt.state}")
            print("".join(f"{plain(line)}\n" for line in text.splitlines()), end="")


@jobs.command(help="End jobs, wherever they run. Finished items are kept.")
@_some_jobs
def cancel(jobs: tuple[str, ...]) -> None:
    """Cancel jobs."""
    with Broker(settings.load()) as broker:
        for job in [broker.find(name) for name in jobs]:
            silent = broker.cancel(job)
            say(f"job {job.id} cancelled")
            for target in silent:
                say(f"{target} cannot be reached: what runs there is ended as soon as it is")


@jobs.command(help="Forget jobs, and delete what they left here and on their targets. Results stay.")
@_some_jobs
def rm(jobs: tuple[str, ...]) -> None:
    """Remove jobs."""
    with Broker(settings.load()) as broker:
        for job in [broker.find(name) for name in jobs]:
            broker.remove(job)
            say(f"job {job.id} forgotten; its results stay")
