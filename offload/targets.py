"""`offload targets`: the places a job can run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from broker import orphans, settings
from broker import targets as configured
from broker.broker import Broker
from broker.errors import NoTarget, OffloadError, UsageError
from executors.base import ExecutorError
from executors.options import at_home
from offload.login import ask_anew, forget_login, login, logout
from services.base.output import print_document
from services.base.overview import target_row
from services.base.text import plain
from services.base.through import opened


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in configured.load(settings.load()) if name.startswith(incomplete)]


_one_target = click.argument("name", shell_complete=_complete)


@click.group(help="The places a job can run.")
def targets() -> None:
    """Verbs on targets."""


for verb in (login, logout):
    targets.add_command(verb)


@targets.command(help="List the targets in the order they are tried.")
@click.option("--json", "as_json", is_flag=True, help="print one JSON document")
def ls(as_json: bool) -> None:
    """List the targets, each with its state."""
    with opened() as broker:
        rows = [target_row(candidate) for candidate in broker.plan("auto", 0)]
    if as_json:
        print_document(rows)
        return
    for row in rows:
        print("\t".join((row["name"], row["kind"], row["state"], plain(_about(row)))))


def _about(row: Mapping[str, Any]) -> str:
    disk = row["disk_free_bytes"]
    known = [row["gpu"], row["cpus"] and f"{row['cpus']} CPUs", disk and f"{disk / 1e9:.0f} GB free"]
    holds = row["holds"] and f"holds {row['holds']}"
    return "; ".join(filter(None, (", ".join(filter(None, known)), holds, row["reason"])))


@targets.command(help="Add a target: `offload targets add my-box ssh://user@host:port`. New ones are tried last.")
@click.argument("name")
@click.argument("url")
@click.option("--identity", metavar="FILE", help="ssh: private key to log in with, where it is not the usual one")
@click.option("--token-file", metavar="FILE", help="jupyter: file of mode 0600 that holds the server's token")
@click.option("--gpu", metavar="KIND", help="colab: T4, L4, A100, ...; else the best that costs nothing")
@click.option("--client-file", metavar="FILE", help="colab: the OAuth client to log in as; else the one of cgpu")
@click.option("--ca", metavar="FILE", help="jupyter: certificates to trust, where they are not the usual ones")
@click.option("--jobs", type=click.IntRange(min=1), help="jobs that run there at the same time  [default: 1]")
def add(name: str, url: str, gpu: str | None, jobs: int | None, **files: str | None) -> None:
    """Write a target into the targets file."""
    given: dict[str, str | int] = {"gpu": gpu} if gpu else {}
    given |= {"jobs": jobs} if jobs else {}
    given |= {key: str(at_home(file).absolute()) for key, file in files.items() if file}
    configured.add(settings.load(), name, {"url": url} | given)
    print(f"added; now see whether it works: offload targets test {name}", file=sys.stderr)


@targets.command(help="Remove a target, and what jobs left there, if it can be reached; else that ages away by itself.")
@_one_target
def rm(name: str) -> None:
    """Delete a target from the targets file."""
    config = settings.load()
    with Broker(config) as broker:
        target = broker.targets.get(name)
        _refuse_in_use(broker, name)
        if target:
            _give_back(broker, target)
        if target and any(orphan.target == name for orphan in broker.journal.orphans()):
            with suppress(ExecutorError, OffloadError):  # it is removed all the same
                broker.contact.clean(target)
        configured.remove(config, name)
        orphans.give_up(broker.journal, name)
        if target and target.kind == "colab":
            forget_login(target)


def _give_back(broker: Broker, target: configured.Target) -> None:
    rented = target.rented()
    if rented and (holding := rented.held()):
        try:
            rented.give_back(unless=lambda: _refuse_driven(broker, target.name))
        except ExecutorError as error:
            what = f"{target.name} holds {holding.what}, which cannot be given back now: {error}"
            raise NoTarget(what, error.hint or f"offload targets rm {target.name}") from error


def _refuse_in_use(broker: Broker, name: str) -> None:
    for job in broker.journal.open_jobs():
        runs = any(one.target == name and one.state == "running" for one in broker.journal.attempts(job.id))
        if runs or name in configured.named(job.on):
            raise UsageError(f"job {job.id} uses {name}", f"offload jobs cancel {job.id}")


@targets.command(help="End and delete what attempts that were given up, or forgotten jobs of ours, left on a target.")
@_one_target
def clean(name: str) -> None:
    """Clean a target."""
    target = _find(name)
    with Broker(settings.load()) as broker:
        count = broker.contact.clean(target)
    print(f"{count} job{'s' * (count != 1)} ended and deleted on {name}", file=sys.stderr)


@targets.command(help="Give back the machine that a target has taken, with all that is on it.")
@_one_target
@click.argument("runtime", required=False)
def release(name: str, runtime: str | None) -> None:
    """Give back what a target holds, or another RUNTIME of the same account, whoever took it."""
    executor = _find(name).rented()
    if executor is None:
        raise UsageError(f"{name} takes no machines that could be given back", "offload targets ls")
    with Broker(settings.load()) as broker:
        holding = executor.held()
        if runtime and not (holding and holding.name == runtime):
            executor.give_back_other(runtime)
            print(f"{runtime} is given back", file=sys.stderr)
            return
        executor.give_back(unless=lambda: _refuse_driven(broker, name))
        broker.journal.machine_gone(name)
    print(f"{holding.what} is given back" if holding else f"{name} held nothing", file=sys.stderr)


def _refuse_driven(broker: Broker, name: str) -> bool:
    for job in broker.journal.work_on(name):
        if broker.driven(job):
            raise UsageError(f"job {job} runs on {name}", f"offload jobs cancel {job}")
    return False


@targets.command(help="Show the key of a machine, and trust it from now on.")
@_one_target
@click.option("--yes", is_flag=True, help="do not ask: you have compared the fingerprint")
def trust(name: str, yes: bool) -> None:
    """Pin the host key of an SSH target."""
    target = _find(name)
    if target.kind != "ssh":
        raise UsageError(f"{name} is no SSH target: there is no key to trust")
    from executors.ssh.address import Address
    from executors.ssh.probe import not_installed

    try:
        from executors.ssh.trust import pin, untrusted
    except ImportError as error:
        raise not_installed(name, error) from error
    address = Address.of(target.name, target.options)
    ask_anew(name)
    # A ProxyJump shows its key first, and the machine behind it once that one is trusted.
    while (offer := untrusted(address)) is not None:
        was = f"; known was {offer.known}" if offer.known else ""
        print(f"{offer.host} shows {offer.kind} {offer.fingerprint}{was}", file=sys.stderr)
        if not yes:
            click.confirm("Is that the machine's key?", err=True, abort=True)
        pin(offer, Path(target.options["known_hosts"]))
    print(f"the key of {name} is known", file=sys.stderr)


@targets.command(help="Go through all a target needs, and say what to type at the first thing that fails.")
@_one_target
def test(name: str) -> None:
    """Print a line per step; what to type, and the exit code, are the failing step's own."""
    from services.base.checkup import checkup

    target = _find(name)
    with Broker(settings.load()) as broker:
        for step in checkup(broker, target):
            said = f": {step.said}" if step.said else ""
            then = f"; type: {step.hint}" if step.hint else ""
            print(f"{'ok  ' if step.ok else 'FAIL'}  {step.name}{plain(said + then)}", flush=True)
            if not step.ok:
                sys.exit(step.exit_code)


def _find(name: str) -> configured.Target:
    return configured.choose(configured.load(settings.load()), name)[0]
