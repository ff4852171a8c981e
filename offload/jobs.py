"""`offload jobs`: look at jobs, end them, forget them."""

from __future__ import annotations

import json
import time

import click

from broker import settings
from broker.broker import Broker
from broker.job import Job
from offload.story import story


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    with Broker(settings.load()) as broker:
        return [job.id for job in broker.journal.jobs() if job.id.startswith(incomplete)]


_as_json = click.option("--json", "as_json", is_flag=True, help="print one JSON document")
_one_job = click.argument("job", shell_complete=_complete)


@click.group(help="Look at jobs, end them, forget them. A job is named by its id, or by how that begins.")
def jobs() -> None:
    """Verbs on jobs."""


@jobs.command(help="List the latest jobs, newest first.")
@click.option("-n", "--number", default=20, show_default=True, help="how many")
@_as_json
def ls(number: int, as_json: bool) -> None:
    """List jobs."""
    with Broker(settings.load()) as broker:
        rows = [_row(broker, job) for job in broker.journal.jobs(number)]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(
            f"{row['job']}\t{row['state']}\t{row['service']}\t{row['progress']:.0%}\t{row['age']:.0f}s\t{row['first']}"
        )


def _row(broker: Broker, job: Job) -> dict[str, object]:
    return {
        "job": job.id,
        "state": state(broker, job),
        "service": job.service,
        "progress": broker.journal.progress(job.id),
        "age": round(time.time() - job.created, 1),
        "first": str(job.items[0].source),
        "items": len(job.items),
    }


def state(broker: Broker, job: Job) -> str:
    """State of a job as people see it: one that nobody drives is interrupted."""
    return job.state.value if job.state.over or broker.driven(job) else "interrupted"


@jobs.command(help="Show a job: its items, what was tried where, and the outputs.")
@_one_job
@_as_json
def show(job: str, as_json: bool) -> None:
    """Show one job's receipt."""
    with Broker(settings.load()) as broker:
        found = broker.find(job)
        receipt = broker.receipt(found.id)
        print(json.dumps(receipt, indent=2) if as_json else story(receipt, state(broker, found), found.command))


@jobs.command(help="Print what the job's script logged, attempt by attempt.")
@_one_job
def logs(job: str) -> None:
    """Print a job's logs."""
    with Broker(settings.load()) as broker:
        for attempt, text in broker.logs(broker.find(job)):
            print(f"--- attempt {attempt.number} on {attempt.target}: {attempt.state}")
            print(text, end="" if text.endswith("\n") else "\n")


@jobs.command(help="End jobs, wherever they run. Finished items are kept.")
@click.argument("jobs", nargs=-1, required=True, shell_complete=_complete)
def cancel(jobs: tuple[str, ...]) -> None:
    """Cancel jobs."""
    with Broker(settings.load()) as broker:
        for job in jobs:
            broker.cancel(broker.find(job))


@jobs.command(help="Forget jobs, and delete what they left here and on their targets. Results stay.")
@click.argument("jobs", nargs=-1, required=True, shell_complete=_complete)
def rm(jobs: tuple[str, ...]) -> None:
    """Remove jobs."""
    with Broker(settings.load()) as broker:
        for job in jobs:
            broker.remove(broker.find(job))
