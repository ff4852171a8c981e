"""A service as a command: `python -m services.NAME` and `offload NAME` are both this."""

from __future__ import annotations

import atexit
import errno
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from broker.errors import Interrupted, LimitError, OffloadError
from executors.base import ExecutorError
from services.base.deadline import DEADLINE, TYPED
from services.base.options import options, parse
from services.base.service import Service
from services.base.text import complain, program

EXIT_CODES = """\b
Exit codes:
  0  done                          6  the job failed
  1  unexpected                    7  trust, login or configuration
  2  usage                         8  a limit: disk, size, quota, memory
  3  an input cannot be used       9  integrity
  4  something is not installed  101  some of several inputs failed
  5  no target could take it     130  interrupted
"""

UNWRITABLE = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT)
"""What writing to a stdout that takes no more ends with."""


def main(service: Service) -> NoReturn:
    """Be `python -m services.NAME`."""
    run(command(service), f"python -m services.{service.name}")


def run(cli: click.Command, name: str) -> NoReturn:
    """Run a command to its exit code. What a person did wrong is a sentence, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    leave(_code(cli, name))


def _code(cli: click.Command, name: str) -> int:
    try:
        code = cli.main(prog_name=name, standalone_mode=False) or 0
        sys.stdout.flush()
        return int(code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        return _failed(error.format_message(), f"{where.command_path if where else name} --help", error.exit_code)
    except (OffloadError, ExecutorError) as error:
        return _failed(str(error), getattr(error, "hint", ""), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _failed("interrupted before anything was done", "", Interrupted.exit_code)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit would try once more
        if error.errno == errno.EPIPE:  # the reader has seen enough
            return OffloadError.exit_code
        complain(f"what there is to say cannot be written: {error.strerror}")
        return LimitError.exit_code


def _failed(message: str, hint: str, code: int) -> int:
    complain(message, hint)
    if "--json" in sys.argv:
        print(json.dumps({"error": message, "hint": hint or None, "exit_code": code}, indent=2), flush=True)
    return code


def leave(code: int) -> NoReturn:
    """End this process. Its memory is the kernel's to free: to take it apart first takes as long as a cached answer."""
    if all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        os._exit(code)
    sys.exit(code)


def command(service: Service) -> click.Command:
    """Make the click command of a service."""
    return click.Command(
        service.name,
        callback=lambda **values: _callback(service, values),
        params=[
            click.Argument(["inputs"], nargs=-1, required=True, metavar="INPUT...", type=click.Path(readable=False)),
            *_common(),
            *options(service.params),
        ],
        help=service.summary,
        epilog=EXIT_CODES,
        no_args_is_help=True,
    )


def _common() -> list[click.Option]:
    flags = {
        "--no-fallback": "do not go on elsewhere when the first target fails",
        "--dry-run": "print where it would run and why, and do nothing",
        "--detach": "leave the job to the background, and print its id",
        "--offline": "ask nobody: only what is here is used",
        "--json": "print the receipt as one JSON document",
        "--overwrite": "replace outputs that exist",
        "--skip-existing": "leave inputs alone whose outputs exist",
        "--apart": "with -o FOLDER/: the outputs of each input in a folder of their own there, 0/, 1/, ...",
        "--keep": "leave the job's folder on the target, to look into it",
        "--no-cache": "make it anew, though the same was made before",
        "--spread": "share the inputs among all targets that help to be done sooner",
    }
    return [
        click.Option(
            ["-o", "--output"],
            metavar="OUT",
            type=click.Path(readable=False),
            help="output file, or a folder (existing, or ending in /)  [default: beside the input]",
        ),
        click.Option(
            ["--on"],
            default="auto",
            show_default=True,
            metavar="auto|local|remote|NAME[,NAME]",
            help="where it may run",
            shell_complete=_complete_target,
        ),
        *(click.Option([flag], is_flag=True, help=text) for flag, text in flags.items()),
        click.Option(
            ["--when"],
            type=click.Choice(("now", "remote")),
            default="now",
            show_default=True,
            help="remote: wait in the background until another machine than this one can take it",
        ),
        click.Option(["--deadline"], type=DEADLINE, help="with --when remote: when it is done here after all"),
        click.Option(
            ["--priority"],
            type=click.IntRange(-1000, 1000),
            default=0,
            show_default=True,
            help="of waiting jobs the highest goes first",
        ),
        click.Option(["-q", "--quiet"], is_flag=True, help="say nothing but errors"),
        click.Option(["-0", "--null", "null"], is_flag=True, help="end printed paths with NUL, not newline"),
    ]


def _complete_target(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from broker import settings, targets

    before, comma, last = incomplete.rpartition(",")
    try:
        known = [*targets.load(settings.load())]
    except OffloadError:  # a prompt is no place for a complaint: the command itself makes it
        known = [targets.LOCAL]
    words = known if comma else ["auto", "remote", *known]
    return [f"{before}{comma}{word}" for word in words if word.startswith(last)]


def _callback(service: Service, values: dict[str, Any]) -> int:
    from services.base.use import Choices, Use

    context = click.get_current_context()
    typed = [*_program(context), *_given(context)]
    words = values.pop("inputs")
    if values.pop("offline"):
        os.environ["OFFLOAD_OFFLINE"] = "1"  # for whoever goes on in the background, too
    choices = Choices(**{name: values.pop(name) for name in Choices.__dataclass_fields__})
    return Use(service, parse(service.params, values), choices, words, typed).code()


def _program(context: click.Context) -> Iterator[str]:
    """What to type to reach this command again."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is None and not sys.argv[0].endswith(".py"):
        yield program(sys.argv[0])
    else:
        yield program(sys.executable)
        yield from ("-m", spec.name.removesuffix(".__main__")) if spec else (sys.argv[0],)
    if context.parent is not None:
        yield str(context.info_name)


def _given(context: click.Context) -> Iterator[str]:
    """The options that were given, in a form that holds before any other input."""
    for option in context.command.params:
        given = context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
        if given and isinstance(option, click.Option):
            typed = context.meta.get(TYPED, {})  # what became a number
            value = typed.get(option.name, context.params[str(option.name)])
            yield option.opts[-1] if option.is_flag else f"{option.opts[-1]}={value}"
