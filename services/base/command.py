"""A service as a command: `python -m services.NAME` and `offload NAME` are both this."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import click

from broker.errors import Interrupted, OffloadError
from executors.base import ExecutorError
from services.base.options import options, parse
from services.base.service import Service

EXIT_CODES = """\b
Exit codes:
  0  done                          6  the job failed
  1  unexpected                    7  trust, login or configuration
  2  usage                         8  a limit: disk, size, quota, memory
  3  an input cannot be used       9  integrity
  4  something is not installed  101  some of several inputs failed
  5  no target could take it     130  interrupted
"""


def main(service: Service) -> NoReturn:
    """Be `python -m services.NAME`."""
    run(command(service), f"python -m services.{service.name}")


def run(cli: click.Command, name: str) -> NoReturn:
    """Run a command to its exit code. What a person did wrong is a sentence, never a traceback."""
    try:
        sys.exit(cli.main(prog_name=name, standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (OffloadError, ExecutorError) as error:
        hint = getattr(error, "hint", "")
        print(f"error: {error}" + (f"\n  {hint}" if hint else ""), file=sys.stderr)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(Interrupted.exit_code)


def command(service: Service) -> click.Command:
    """Make the click command of a service."""
    return click.Command(
        service.name,
        callback=lambda **values: _callback(service, values),
        params=[click.Argument(["inputs"], nargs=-1, required=True), *_common(), *options(service.params)],
        help=service.summary,
        epilog=EXIT_CODES,
        no_args_is_help=True,
    )


def _common() -> list[click.Option]:
    flags = {
        "--no-fallback": "do not go on elsewhere when the first target fails",
        "--dry-run": "print where it would run and why, and do nothing",
        "--json": "print the receipt as one JSON document",
        "--overwrite": "replace outputs that exist",
        "--skip-existing": "leave inputs alone whose output exists",
    }
    return [
        click.Option(["-o", "--output"], metavar="OUT", help="output file, or a folder (existing, or ending in /)"),
        click.Option(
            ["--on"],
            default="auto",
            show_default=True,
            metavar="auto|local|remote|NAME[,NAME]",
            help="where it may run",
            shell_complete=_complete_target,
        ),
        *(click.Option([flag], is_flag=True, help=text) for flag, text in flags.items()),
        click.Option(["-q", "--quiet"], is_flag=True, help="say nothing but errors"),
        click.Option(["-0", "--null", "null"], is_flag=True, help="end printed paths with NUL, not newline"),
    ]


def _complete_target(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from broker import settings, targets

    names = ["auto", "remote", *targets.load(settings.load())]
    return [name for name in names if name.startswith(incomplete)]


def _callback(service: Service, values: dict[str, Any]) -> int:
    from services.base.use import Choices, Use

    words = values.pop("inputs")
    choices = Choices(**{name: values.pop(name) for name in Choices.__dataclass_fields__})
    name = click.get_current_context().find_root().info_name or service.name
    return Use(service, parse(service.params, values), choices, words, (*name.split(), *sys.argv[1:])).code()
