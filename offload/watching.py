"""`offload jobs watch`: what runs and what waits, as it is now, until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import click

from broker.broker import Broker
from broker.errors import UsageError
from broker.job import Job
from broker.places import Places
from broker.stop import Stop
from services.base.progress import LINE_SECONDS, describe
from services.base.text import plain
from services.base.through import opened

LOOK_SECONDS = 1.0
MOST_ROWS = 40
"""Rows of a kind: more than a screen holds, and never more to be kept, however many jobs there are."""

COLUMNS = ("job", "service", "input", "target", "progress")


@dataclass(frozen=True)
class Row:
    """A job, in words: `state` is what it does, or waits for, and `count` how many others wait for the same."""

    job: str
    service: str
    input: str
    target: str
    state: str
    waits: bool
    count: int = 1


@click.command(help="Watch what runs and what waits, until Ctrl-C.")
def watch() -> None:
    """Show all jobs that are not over: on a terminal as they change, else as lines, every few seconds."""
    stop, live = Stop(), sys.stdout.isatty()
    with opened() as broker, stop.on_signals(), _screen() if live else nullcontext() as screen:
        while not stop.requested:
            rows = list(look(broker))
            if screen:
                screen.update(_table(rows), refresh=True)
            else:
                print("\n".join(_lines(rows)), flush=True)
            stop.sleep(LOOK_SECONDS if live else LINE_SECONDS)


def look(broker: Broker) -> Iterator[Row]:
    """The jobs that are not over: first what runs, then what waits, in their order, as many of each as are shown."""
    driven = broker.drivers()
    known = [row for job in sorted(driven) if (row := _driven(broker, job))]
    yield from [row for row in known if not row.waits][:MOST_ROWS]
    yield from [row for row in known if row.waits][:MOST_ROWS]
    places = Places(broker)
    for head in broker.journal.queue.heads(driven)[:MOST_ROWS]:
        with suppress(UsageError):  # it was forgotten this moment
            job = broker.journal.job(head.id)
            why = places.why(head) or "waiting for its turn"
            yield Row(job.id, job.service, _first(job), "", why, waits=True, count=head.count)


def _driven(broker: Broker, id: str) -> Row | None:  # noqa: A002
    try:
        job, said = broker.journal.job(id), broker.journal.ending(id).error
    except UsageError:  # it was forgotten this moment
        return None
    if job.state.over:
        return None
    running = [attempt.target for attempt in broker.journal.attempts(id) if attempt.state == "running"]
    state = said or (_progress(broker, job) if running else "starting")
    return Row(id, job.service, _first(job), "".join(running[-1:]), state, waits=bool(said))


def _progress(broker: Broker, job: Job) -> str:
    """How far the item at work is, and which it is."""
    paces = broker.journal.paces(job.id)
    at_work = [item.index for item in job.items if item.open and paces[item.index].fraction > 0]
    index = at_work[-1] if at_work else next((item.index for item in job.items if item.open), len(paces) - 1)
    which = f"[{index + 1}/{len(paces)}] " if len(paces) > 1 else ""
    return f"{which}{describe(paces[index])}"


def _first(job: Job) -> str:
    others = f" and {len(job.items) - 1} more" if len(job.items) > 1 else ""
    return f"{job.items[0].source.name}{others}"


def _lines(rows: list[Row]) -> Iterator[str]:
    yield f"{time.strftime('%H:%M:%S')} {_summary(rows)}"
    for row in rows:
        where = f" on {row.target}" if row.target else ""
        yield plain(f"  {row.job} {row.service} {row.input}{where}: {row.state}{_others(row)}")


def _summary(rows: list[Row]) -> str:
    waiting = sum(row.count for row in rows if row.waits)
    return f"{sum(not row.waits for row in rows)} running, {waiting} waiting"


def _others(row: Row) -> str:
    return f" ({row.count - 1} more after it)" if row.count > 1 else ""


def _screen() -> Any:
    from rich.console import Console
    from rich.live import Live

    return Live(console=Console(), auto_refresh=False, transient=True, vertical_overflow="ellipsis")


def _table(rows: list[Row]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(*COLUMNS, title=_summary(rows), box=None, title_justify="left")
    for row in rows:
        cells = (row.job, row.service, row.input, row.target, f"{row.state}{_others(row)}")
        table.add_row(*(Text(plain(cell)) for cell in cells), style="dim" if row.waits else "")
    return table
