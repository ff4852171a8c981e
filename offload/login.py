"""`offload targets login` and `logout`: who a Colab target's runtimes belong to."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from broker import settings, targets
from broker.broker import Broker
from broker.errors import UsageError
from executors.options import at_home
from services.base.text import plain

if TYPE_CHECKING:
    from broker.targets import Target
    from executors.colab.address import Address

LOGIN_SECONDS = 300
"""How long a person may take on Google's page."""

DAY = 86400


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    known = targets.load(settings.load()).values()
    return [target.name for target in known if target.kind == "colab" and target.name.startswith(incomplete)]


_one_target = click.argument("name", shell_complete=_complete)


@click.command(help="Log in to Google for a Colab target. A login of cgpu's that works is used as it is.")
@_one_target
@click.option("--no-browser", is_flag=True, help="open no browser: print the page's url, to be opened by hand")
@click.option("--own", is_flag=True, help="log in by ourselves, though there is a login of cgpu's")
@click.option("--client-file", metavar="FILE", help="the OAuth client to log in as: the file of Google's console")
@click.option("--wait", type=click.IntRange(1, DAY), default=LOGIN_SECONDS, show_default=True, help="seconds to log in")
def login(name: str, no_browser: bool, own: bool, client_file: str | None, wait: int) -> None:
    """Save a login, unless there is one to be used."""
    address = _address(name)
    ask_anew(name)
    if client_file:
        address = replace(address, client_file=at_home(client_file))
    elif not own and _cgpu_works(address):
        _say(f"the login of cgpu is used, and works: there is nothing to do (--own makes {name} a login of its own)")
        return
    from executors.colab.browser import log_in

    who = log_in(address, _say, show=not no_browser, limit=wait)
    _say(f"logged in{f' as {who}' if who else ''}; now see whether it works: offload targets test {name}")


@click.command(help="Delete the login of a Colab target here. A login of cgpu's stays.")
@_one_target
def logout(name: str) -> None:
    """Delete what `login` saved."""
    from executors.base import Refused
    from executors.colab.login import forget, saved
    from executors.colab.runtime import Runtime

    address = _address(name)
    if Runtime(address).record:
        raise UsageError(
            f"{name} holds a runtime, which only who is logged in can give back", f"offload targets release {name}"
        )
    ask_anew(name)
    there = forget(address)
    _say(f"the login of {name} is deleted here" if there else f"{name} has no login of its own")
    if there:
        _say("to end it at Google, too, remove its access on https://myaccount.google.com/permissions")
    try:
        saved(address)
    except Refused:
        return
    _say(f"{name} uses the login of cgpu, which stays")


def forget_login(target: Target) -> None:
    """Leave no login of a target that is removed."""
    from executors.colab.address import Address
    from executors.colab.login import forget

    forget(Address.of(target.name, target.options))


def ask_anew(name: str) -> None:
    """Have the next command ask a target, whatever it said a moment ago."""
    with Broker(settings.load()) as broker:
        broker.journal.health.lapse(broker.targets[name])


def _address(name: str) -> Address:
    target = targets.choose(targets.load(settings.load()), name)[0]
    if target.kind != "colab":
        raise UsageError(f"{name} is no Colab target: there is nothing to log in to", "offload targets ls")
    from executors.colab.address import Address

    return Address.of(target.name, target.options)


def _cgpu_works(address: Address) -> bool:
    """Whether the login that is used is cgpu's, and Google takes it. Raises Unreachable when it cannot be asked."""
    from executors.base import Refused
    from executors.colab.login import Login, saved

    try:
        key = saved(address)
    except Refused:  # there is none
        return False
    if not key.of_cgpu:
        return False
    login = Login(address)
    try:
        login.token()
        login.renew()  # what was kept may be older than a revocation
    except Refused as error:
        _say(f"{error}: a new login is needed")
        return False
    return True


def _say(text: str) -> None:
    print(plain(text), file=sys.stderr, flush=True)
