"""`offload jobs`: look at jobs, watch them, do their rest, end them, forget them."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence

import click

import services
from broker import followers, settings
from broker import logs as growing
from broker.again import again
from broker.broker import Broker
from broker.errors import PARTLY, Interrupted, OffloadError
from broker.job import Attempt, Job, State
from broker.journal import OPEN
from broker.standing import state, why
from broker.stop import Stop
from offload.story import story
from offload.watching import watch
from server import folders
from services.base.output import Outcome, deliver, print_document, print_paths
from services.base.progress import Describe, say
from services.base.text import near, plain, typed
from services.base.through import opened, see_through

CLOSING_SECONDS = 15.0
"""How long the driver of a cancelled job may take to close it, before we stop waiting for that."""

STATES = ("open", *(state.value for state in State))


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        with Broker(settings.load()) as broker:
            return [job.id for job in broker.journal.jobs() if job.id.startswith(incomplete)]
    except OffloadError:  # a prompt is no place for a complaint: the command itself makes it
        return []


_as_json = click.option("--json", "as_json", is_flag=True, help="print one JSON document")
_one_job = click.argument("job", shell_complete=_complete)
_some_jobs = click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=_complete)
_quiet = click.option("-q", "--quiet", is_flag=True, help="say nothing but errors")
_null = click.option("-0", "--null", is_flag=True, help="end printed paths with NUL, not newline")


@click.group(help="Look at jobs, go on with them, end them. A job is named by its id, or by how that begins.")
def jobs() -> None:
    """Verbs on jobs."""


jobs.add_command(watch)


@jobs.command(help="List the latest jobs, newest first.")
@click.option("-n", "--number", type=click.IntRange(min=1), default=20, show_default=True, help="how many")
@click.option("--service", help="those of one service")
@click.option("--state", "only", type=click.Choice(STATES), help="those in one state; open: not over")
@_as_json
def ls(number: int, service: str | None, only: str | None, as_json: bool) -> None:
    """List jobs."""
    with opened() as broker:
        states = OPEN if only == "open" else (State(only),) if only else ()
        driven = broker.drivers()  # asked first, as `state` wants it
        with broker.journal.looking():
            found = broker.journal.jobs(number, service, states)
            rows = [_row(broker, job, driven) for job in found]
    if as_json:
        print_document(rows)
        return
    for job, row in zip(found, rows, strict=True):
        first, others = near(job.items[0].source), len(job.items) - 1
        what = f"{first} and {others} more" if others else first
        waits = [plain(str(row["why"]))] if row["why"] else []
        print("\t".join([job.id, str(row["state"]), job.service, f"{row['progress']:.0%}", _ago(job), what, *waits]))
    if not rows:
        say("no jobs yet")


def _row(broker: Broker, job: Job, driven: Collection[str]) -> dict[str, object]:
    return {
        "job": job.id,
        "state": state(broker, job, driven),
        "why": why(broker, job, driven) or None,
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


@jobs.command(help="Show a job: its items, what was tried where, and the outputs.")
@_one_job
@_as_json
def show(job: str, as_json: bool) -> None:
    """Show one job's receipt."""
    with opened() as broker:
        driven = broker.drivers()
        with broker.journal.looking():
            found = broker.find(job)
            receipt = broker.receipt(found.id)
            standing, waits = state(broker, found, driven), why(broker, found, driven)
        if as_json:
            print_document({**receipt, "why": waits or None})
        else:
            print(story({**receipt, "error": waits or receipt["error"]}, standing, found))


@jobs.command(help="Print what the job's script logged, attempt by attempt.")
@click.option("-f", "--follow", is_flag=True, help="go on printing until the job is over")
@_one_job
def logs(job: str, follow: bool) -> int:
    """Print a job's logs."""
    stop = Stop()
    with opened() as broker:
        found = broker.find(job)
        if not follow:
            _print(broker.logs(found))
            return 0
        with stop.on_signals():
            _print(growing.follow(broker, found.id, stop))
    return Interrupted.exit_code if stop.requested else 0


def _print(logs: Iterable[tuple[Attempt, str]]) -> None:
    """Print what attempts logged, in lines; a line may come in pieces."""
    shown, begun = 0, ""
    for attempt, text in logs:
        if attempt.id != shown:
            _print_lines([begun] if begun else [])
            shown, begun = attempt.id, ""
            _print_lines([f"--- attempt {attempt.number} on {attempt.target}: {attempt.state}"])
        *lines, begun = (begun + text).split("\n")
        _print_lines(lines)
    _print_lines([begun] if begun else [])


def _print_lines(lines: Iterable[str]) -> None:
    print("".join(f"{plain(line)}\n" for line in lines), end="", flush=True)


@jobs.command(help="Go on with a job where it is, or watch it while another process sees it through.")
@_one_job
@_as_json
@_quiet
@_null
def attach(job: str, as_json: bool, quiet: bool, null: bool) -> int:
    """Attach to a job, as if it had been typed here."""
    with opened(quiet) as broker:
        found = broker.find(job)
        outcome = _attend(broker, found, quiet)
        return deliver(outcome, broker.receipt(found.id), as_json, null)


@jobs.command(help="Do what is missing of jobs that failed or were stopped.")
@_some_jobs
@_as_json
@_quiet
@_null
def retry(jobs: Sequence[str], as_json: bool, quiet: bool, null: bool) -> int:
    """Retry jobs one after the other, until we are stopped. The JSON document is a list."""
    outcomes: dict[str, Outcome] = {}
    with opened(quiet) as broker:
        for job in [broker.find(name) for name in jobs]:
            outcomes[job.id] = _attend(broker, _reopened(broker, job), quiet)
            if outcomes[job.id].code == Interrupted.exit_code:
                break
        if as_json:
            print_document([outcome.document(broker.receipt(job)) for job, outcome in outcomes.items()])
    if not as_json:
        print_paths([path for outcome in outcomes.values() for path in outcome.paths], null)
    return _together([outcome.code for outcome in outcomes.values()])


def _reopened(broker: Broker, job: Job) -> Job:
    if job.state is State.DONE:
        say(f"job {job.id} is done: nothing is missing")
    again(broker, job)
    followers.revive(broker)
    return broker.journal.job(job.id)


def _attend(broker: Broker, job: Job, quiet: bool) -> Outcome:
    job, failure = see_through(broker, job, _describe(job), quiet, lambda job: typed(f"offload jobs retry {job.id}"))
    return Outcome((), (), job.items, failure)


def _describe(job: Job) -> Describe:
    return services.find(job.service).describe if job.service in services.names() else lambda measured: ""


def _together(codes: Sequence[int]) -> int:
    """Exit code of several jobs: theirs where they agree."""
    if Interrupted.exit_code in codes:
        return Interrupted.exit_code
    return codes[0] if len(set(codes)) == 1 else PARTLY


@jobs.command(help="End jobs, wherever they run. Finished items are kept.")
@_some_jobs
def cancel(jobs: tuple[str, ...]) -> None:
    """Cancel jobs."""
    with opened(ending=True) as broker:
        for job in [broker.find(name) for name in jobs]:
            silent = broker.cancel(job)
            if _ended(broker, job):
                followers.forget(broker.settings, job.id)
                say(f"job {job.id} cancelled")
            else:
                say(f"job {job.id} will end: its driver was told")
            for target in silent:
                say(f"{target} cannot be reached: what runs there is ended as soon as it is")


def _ended(broker: Broker, job: Job) -> bool:
    """Whether a job's driver closes it within a moment."""
    deadline = time.monotonic() + CLOSING_SECONDS
    while broker.driven(job.id) and time.monotonic() < deadline:
        time.sleep(0.05)
    return broker.journal.job(job.id).state.over


@jobs.command(help="Forget jobs, and what they left here and on targets. Results stay, but for those the server has.")
@_some_jobs
def rm(jobs: tuple[str, ...]) -> None:
    """Remove jobs."""
    with opened(ending=True) as broker:
        for job in [broker.find(name) for name in jobs]:
            gone = folders.remove(broker, job)
            say(f"job {job.id} forgotten; its results {'went with it: the server had them' if gone else 'stay'}")
