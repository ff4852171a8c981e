"""`offload serve`: the same jobs, for browsers and for programs that speak HTTP."""

from __future__ import annotations

import time

import click

from broker import settings
from broker.errors import ConfigError, Interrupted, MissingHere, NoTarget
from server import access, running
from services.base.progress import say

LOOKS, AGAIN_SECONDS = 40, 0.05
"""How often, and how soon again, it is looked whether who has come to a port makes itself known as one of ours."""


@click.command(help="Serve jobs, and a page to see them on, to browsers and programs of this machine.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"port of 127.0.0.1 to be reached at; 0: any that is free  [default: {running.PORT}]",
)
@click.option("--link", is_flag=True, help="print another login link of the server that runs, and end")
def serve(port: int | None, link: bool) -> int:
    """Serve until Ctrl-C, or print a link."""
    config = settings.load()
    if link:
        print(_link(config, _port(config, port)), flush=True)
        return 0
    return _serve(config, running.PORT if port is None else port)


def _serve(config: settings.Settings, port: int) -> int:
    try:
        from server import run
    except ImportError as error:
        raise _not_installed(error) from error
    try:
        bound = run.bind(port)
    except run.Taken:
        if not _is_ours(config, port):
            raise
        say(f"it runs already, at port {port}; this logs in a browser, once and within ten minutes:")
        print(_link(config, port), flush=True)
        return 0
    run.serve(config, bound, _tell)
    return Interrupted.exit_code


def _is_ours(config: settings.Settings, port: int) -> bool:
    """Whether a server of ours has a port that is taken, also one that has just come to it."""
    for _ in range(LOOKS):
        if running.runs(config, port):
            return True
        time.sleep(AGAIN_SECONDS)
    return False


def _tell(link: str) -> None:
    say("this logs in a browser, once and within ten minutes; Ctrl-C stops the server:")
    print(link, flush=True)


def _port(config: settings.Settings, port: int | None) -> int:
    found = [one for one in running.ports(config) if port in (None, one)]
    if not found:
        raise NoTarget("no server runs" + (f" at port {port}" if port is not None else ""), "offload serve")
    return found[0]


def _link(config: settings.Settings, port: int) -> str:
    try:
        from server.client import Client, ClientError
    except ImportError as error:
        raise _not_installed(error) from error
    try:
        with Client.here(config, port, patience=0) as client:
            return client.link()
    except ClientError as error:
        if error.status != 401:
            raise
        what = f"the server at port {port} was started with another token than there is now"
        raise ConfigError(what, access.ANEW) from error


def _not_installed(error: ImportError) -> MissingHere:
    return MissingHere(f"the server needs {error.name}", "pip install 'offload-broker[server]'")
