"""`offload verify`: the same request on several targets, and how equal the outputs are."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import services
from broker.errors import InputError, OffloadError, UsageError
from offload import report_file
from services.base import inputs as select
from services.base.command import EXIT_CODES
from services.base.options import options, parse
from services.base.output import print_document
from services.base.progress import say
from services.base.service import Params, Service
from services.base.text import complain, near, plain

if TYPE_CHECKING:
    from broker.job import Request
    from offload.verified import Pair, Verified


class Services(click.Group):
    """The services, each as a verb that verifies it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all services."""
        return services.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that service."""
        return verb(services.find(cmd_name)) if cmd_name in services.names() else None


verify = Services(
    "verify",
    help="Do the same on several targets, and tell how equal the outputs are:"
    " offload verify stabilize clip.mp4 --on local,my-box",
    epilog=EXIT_CODES,
    no_args_is_help=True,
)


@dataclass(frozen=True)
class Choices:
    """What may be chosen apart from the service's own parameters."""

    on: tuple[str, ...]
    html: Path | None
    keep_outputs: Path | None
    overwrite: bool
    as_json: bool
    quiet: bool


def verb(service: Service) -> click.Command:
    """Make the command that verifies a service."""
    return click.Command(
        service.name,
        callback=lambda **values: _callback(service, values),
        params=[
            click.Argument(["inputs"], nargs=-1, required=True, metavar="INPUT...", type=click.Path(readable=False)),
            *_common(),
            *options(service.params),
        ],
        help=f"{service.summary} On several targets: the outputs are compared, and not kept."
        f" It promises: {service.contract}.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
    )


def _common() -> list[click.Option]:
    file = click.Path(path_type=Path)
    return [
        click.Option(
            ["--on"],
            required=True,
            metavar="NAME,NAME[,NAME]",
            help="where; each is compared with the first. One named twice shows whether it repeats itself",
            shell_complete=_complete,
        ),
        click.Option(["--html"], type=file, metavar="FILE", help="report with the outputs side by side, in one file"),
        click.Option(["--keep-outputs"], type=file, metavar="DIR", help="new folder to keep the outputs in"),
        click.Option(["--overwrite"], is_flag=True, help="replace a report that exists"),
        click.Option(["--json", "as_json"], is_flag=True, help="print one JSON document, with all receipts"),
        click.Option(["-q", "--quiet"], is_flag=True, help="say nothing but errors"),
    ]


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from broker import settings, targets

    before, comma, last = incomplete.rpartition(",")
    try:
        known = targets.load(settings.load())
    except OffloadError:  # a prompt is no place for a complaint: the command itself makes it
        return []
    return [f"{before}{comma}{name}" for name in known if name.startswith(last)]


def _callback(service: Service, values: dict[str, Any]) -> int:
    words = values.pop("inputs")
    values["on"] = tuple(filter(None, map(str.strip, values["on"].split(","))))
    choices = Choices(**{name: values.pop(name) for name in Choices.__dataclass_fields__})
    return _verify(service, parse(service.params, values), choices, words)


def _verify(service: Service, params: Params, choices: Choices, words: Sequence[str]) -> int:
    from offload import verified, verify_page
    from services.base.through import opened

    _check(choices)
    paths, rejected = select.expand(words, service)
    for entry in rejected:
        say(f"{near(entry.path)}: {entry.error}")
    if not paths:
        raise InputError("there is nothing to verify", f"offload verify {service.name} --help")
    with opened(choices.quiet) as broker:
        verified.check_reachable(broker, choices.on)
        with verified.scratch(choices.keep_outputs and choices.keep_outputs.absolute()) as folder:
            wanted = list(_requests(service, params, paths, choices.on, folder))
            for asked in wanted:  # a rule may forbid the last of them
                broker.allowed(asked)
            runs = [verified.run(broker, service, asked, choices.quiet) for asked in wanted]
            found = verified.Verified(service, runs, list(verified.pairs(service, runs)), len(rejected))
            page = verify_page.page(found) if choices.html else ""
    _tell(found, choices)
    return _write(choices.html, page, choices.overwrite) or found.code if choices.html else found.code


def _requests(
    service: Service, params: Params, paths: Sequence[Path], on: Sequence[str], folder: Path
) -> Iterator[Request]:
    """The request for each target, with a folder of its own for its outputs."""
    from offload import verified

    for number, target in enumerate(on, 1):
        placed = verified.place(paths, folder / f"{number}-{target}", service, params)
        yield verified.request(service, params, placed, target, ("offload", *sys.argv[1:]))


def _check(choices: Choices) -> None:
    """Raise UsageError for what makes no sense, before anything is done."""
    if len(choices.on) < 2 or {"auto", "remote"} & {*choices.on}:
        raise UsageError("--on takes the names of two targets or more", "--on local,NAME; see: offload targets ls")
    if choices.html:
        report_file.check("--html", choices.html, choices.overwrite)
    if choices.keep_outputs:
        _check_new(choices.keep_outputs)
    if choices.html and choices.keep_outputs and _real(choices.html) == _real(choices.keep_outputs):
        raise UsageError("--html and --keep-outputs name one place", "name a folder that is new")


def _check_new(folder: Path) -> None:
    if report_file.is_taken("--keep-outputs", folder):
        raise UsageError(f"{near(folder.absolute())} exists", "name a folder that is new")
    report_file.check_folder("--keep-outputs", folder)


def _real(path: Path) -> str:
    return os.path.realpath(path)


def _write(path: Path, text: str, overwrite: bool) -> int:
    """Write the report; returns the exit code. It is not worth what was found: that is told already."""
    try:
        report_file.write("--html", path, text.encode(), overwrite)
    except OffloadError as error:
        complain(error, error.hint)
        return error.exit_code
    return 0


def _tell(found: Verified, choices: Choices) -> None:
    if choices.as_json:
        print_document(_document(found))
        return
    rows = [*map(_row, found.pairs), *_failed(found)]
    for name, values in found.versions.items():
        rows.append(
            (
                "differs",
                name,
                *(f"{run.target}: {_value(value)}" for run, value in zip(found.runs, values, strict=True)),
            )
        )
    rows.append(
        (
            "reached",
            "nothing" if found.level is None else str(found.level),
            f"{found.service.name} promises {found.service.contract}",
        )
    )
    print("".join("\t".join(map(plain, row)) + "\n" for row in rows), end="", flush=True)
    if not found.kept and not choices.html and not choices.quiet:
        say("to see what differs, add: --html report.html")


def _row(pair: Pair) -> tuple[str, ...]:
    return str(pair.found.level), near(pair.source), pair.name, ", ".join(pair.targets), pair.found.sentence


def _failed(found: Verified) -> list[tuple[str, ...]]:
    return [
        ("failed", near(item.source), "", run.target, item.error or "")
        for run in found.runs
        for item in run.items
        if item.kind
    ]


def _value(value: Any) -> str:
    return "-" if value is None else str(value)


def _document(found: Verified) -> dict[str, Any]:
    return {
        "service": found.service.name,
        "targets": [run.target for run in found.runs],
        "contract": found.service.contract,
        "level": None if found.level is None else str(found.level),
        "outputs": [
            {
                "input": str(pair.source),
                "name": pair.name or None,
                "targets": list(pair.targets),
                "level": str(pair.found.level),
                "figures": dict(pair.found.figures),
                "sentence": pair.found.sentence,
            }
            for pair in found.pairs
        ],
        "versions": found.versions,
        "receipts": [run.receipt for run in found.runs],
        "exit_code": found.code,
    }
