"""The `offload` command. Every service is a verb of it, found when it is named."""

from __future__ import annotations

from importlib import import_module

import click

import services
from offload import __version__
from services.base.command import EXIT_CODES, command, run

VERBS = {
    "cache": "Results that are kept to be had again.",
    "completion": "Make the shell complete verbs, options, targets and jobs.",
    "doctor": "Check that everything the services need is here.",
    "jobs": "Look at jobs, end them, forget them.",
    "models": "The models that services use: fetch, check, delete.",
    "plan": "Where a job would run, how long it would take, and why.",
    "search": "Find moments in everything tagged so far, by what they show.",
    "serve": "Serve jobs to browsers and programs of this machine.",
    "targets": "The places a job can run.",
    "verify": "Do the same on several targets, and tell how equal the outputs are.",
}


class Offload(click.Group):
    """Verbs of its own, and every service. Each is imported when it is used; `--help` imports no verb."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all verbs."""
        return sorted([*VERBS, *services.names()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb of that name."""
        if cmd_name in services.names():
            return command(services.find(cmd_name))
        if cmd_name not in VERBS:
            return None
        verb: click.Command = getattr(import_module(f"offload.{cmd_name}"), cmd_name)
        return verb

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs under `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(name)) for name in self.list_commands(ctx)])


def _summary(name: str) -> str:
    return VERBS.get(name) or services.find(name).summary


@click.group(cls=Offload, help="Run a heavy media job on the best machine you can reach, or here.", epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="offload")
def cli() -> None:
    """The root of all verbs."""


def main() -> None:
    """Be the `offload` command."""
    run(cli, "offload")
