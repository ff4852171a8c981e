"""`offload plan`: where a job would run and why; and how near such forecasts came to what happened."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from pathlib import Path
from statistics import median
from typing import Any

import click

import services
from broker.errors import MissingHere, UsageError
from broker.forecast import read
from offload import report_file
from services.base.command import EXIT_CODES, command
from services.base.output import print_document, print_paths
from services.base.through import opened


@click.command(
    help="Say of every target what a job would take there, and which would be first, as SERVICE INPUT... --dry-run"
    " does; or, with --calibrate, how near such forecasts came.",
    epilog=EXIT_CODES,
    context_settings={"ignore_unknown_options": True},
    no_args_is_help=True,
)
@click.option(
    "--calibrate",
    metavar="PNG",
    type=click.Path(path_type=Path),
    help="draw forecasts against what happened; --overwrite replaces a file that exists",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="SERVICE INPUT... [OPTIONS]")
@click.pass_context
def plan(context: click.Context, calibrate: Path | None, words: tuple[str, ...]) -> int:
    """Plan a use of a service, or look back at what was planned."""
    if calibrate is not None:
        return _calibrate(calibrate, words)
    name = next((word for word in words if not word.startswith("-")), None)
    if name is None or name not in services.names():
        named = f"{name!r} is no service" if name else "no service is named"
        raise UsageError(f"{named}; there are: {', '.join(services.names())}", "offload plan SERVICE INPUT...")
    rest = [*words[: words.index(name)], *words[words.index(name) + 1 :], "--dry-run"]
    with command(services.find(name)).make_context(name, rest, context.parent) as use:  # its --help is one to type
        code: int = use.command.invoke(use)
    return code


@dataclass(frozen=True)
class Past:
    """A job that was forecast: its service, its target, and the seconds that were expected and taken."""

    service: str
    target: str
    expected: float
    took: float

    @property
    def error(self) -> float:
        """How far off the forecast was, as a share of what it took."""
        return abs(self.expected - self.took) / self.took


def _calibrate(png: Path, words: Sequence[str]) -> int:
    if more := [word for word in words if word not in ("--json", "--overwrite")]:
        raise UsageError(f"--calibrate looks at all that ran, and takes no {more[0]!r}", "offload plan --calibrate PNG")
    if png.suffix.lower() != ".png":
        raise UsageError(f"--calibrate {png}: it must end in .png")
    report_file.check("--calibrate", png, "--overwrite" in words)
    with opened() as broker:
        found = [Past(*row[:2], read(json.loads(row[2])), row[3]) for row in broker.journal.history.attempts()]
    rows = list(_rows(found))
    report_file.write("--calibrate", png, drawn(found), "--overwrite" in words)
    if "--json" in words:
        print_document({"plot": str(png.absolute()), "errors": rows})
        return 0
    for row in rows:
        share = f"{row['median_error']:.0%}"
        click.echo("\t".join((row["service"], row["target"], f"{row['jobs']} jobs", f"median error {share}")), err=True)
    print_paths([png.absolute()], null=False)
    return 0


def _rows(found: Iterable[Past]) -> Iterable[Mapping[str, Any]]:
    def key(past: Past) -> tuple[str, str]:
        return past.service, past.target

    for (service, target), group in groupby(sorted(found, key=key), key):
        errors = [past.error for past in group]
        yield {"service": service, "target": target, "jobs": len(errors), "median_error": round(median(errors), 4)}


def drawn(found: Sequence[Past]) -> bytes:
    """A picture, as PNG, of forecasts against what happened. Raises MissingHere without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingHere(f"{error.name} is not installed here", "pip install 'offload-broker[report]'") from error
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot(xscale="log", yscale="log")
    for label in sorted({f"{past.service} on {past.target}" for past in found}):
        own = [past for past in found if f"{past.service} on {past.target}" == label]
        axes.scatter([past.took for past in own], [past.expected for past in own], s=12, label=label)
    edges = [min((past.took for past in found), default=1), max((past.took for past in found), default=100)]
    for factor, style in ((1.0, "-"), (0.7, ":"), (1.3, ":")):
        axes.plot(edges, [edge * factor for edge in edges], style, color="grey", linewidth=0.8)
    axes.set(xlabel="seconds it took", ylabel="seconds expected", title="dotted: 30 % off")
    if found:
        axes.legend()
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()
