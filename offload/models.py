"""`offload models`: which there are, which are here, fetching them before they are needed, and being rid of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

from broker import settings, targets
from broker.errors import IntegrityError, MissingHere, OffloadError, UsageError
from broker.models import catalogue, lock, pinning, store
from broker.models.catalogue import Entry
from broker.models.pin import PATH, Pin
from broker.models.prefetch import holds_nothing, visit
from broker.models.said import amount
from broker.settings import Settings
from broker.stop import Stop
from broker.targets import LOCAL, Target
from offload.fetching import Fetching
from services.base.output import print_document
from services.base.overview import model_rows
from services.base.progress import say
from services.base.text import complain, plain
from services.base.through import opened

PROFILES = ("edge", "minimum", "production")


def _complete_model(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [entry.name for entry in catalogue.entries() if entry.name.startswith(incomplete)]


def _complete_target(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        return [name for name in targets.load(settings.load()) if name.startswith(incomplete)]
    except OffloadError:  # a prompt is no place for a complaint: the command itself makes it
        return []


_names = click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete_model)
_service = click.option("--service", default="", metavar="SERVICE", help="only models of this service")
_on = click.option(
    "--on", default=LOCAL, show_default=True, metavar="TARGET", help="where", shell_complete=_complete_target
)
_as_json = click.option("--json", "as_json", is_flag=True, help="print one JSON document")


@click.group(help="The models that services use: which there are, fetching them, checking them, being rid of them.")
def models() -> None:
    """Verbs on models."""


@models.command(help="List the models of the catalogue, and those that were used before.")
@_service
@_on
@_as_json
def ls(service: str, on: str, as_json: bool) -> None:
    """List models: name, service, licence, size, revision, and whether they are there."""
    config = settings.load()
    rows = list(model_rows(config, service, _target(config, on)))
    if as_json:
        print_document(rows)
        return
    for row in rows:
        about = (row["name"], row["service"], row["licence"], _size(row), row["revision"][:12] or "-", row["here"])
        print("\t".join(plain(word) or "-" for word in about))


def _size(row: Mapping[str, Any]) -> str:
    if row["size_bytes"] is None:
        return "size unknown"
    return f"{row['size_bytes'] / 1e6:.0f} MB" + ("" if row["verified"] else ", unverified")


def _target(config: Settings, on: str) -> Target:
    return targets.choose(targets.load(config), on)[0]


@models.command(help="Fetch models before they are needed: by name, of a service, or of a profile.")
@_names
@_service
@click.option("--profile", type=click.Choice(PROFILES), help="a set of models: the smallest, the usual, the best")
@_on
@click.option("-q", "--quiet", is_flag=True, help="say nothing but errors")
def prefetch(names: tuple[str, ...], service: str, profile: str | None, on: str, quiet: bool) -> None:
    """Pin each model, see whether there is room, fetch; print each that is there at the end."""
    with opened(quiet) as broker:
        wanted = _wanted(broker.settings, names, service, profile)
        fetching = Fetching(broker.settings, _target(broker.settings, on), quiet)
        code = fetching.code(wanted)
    sys.exit(code)


def _wanted(config: Settings, names: Iterable[str], service: str, profile: str | None) -> list[Entry]:
    of_profile = [entry for entry in catalogue.entries() if profile in entry.profiles]
    found = [_meant(config, name, service) for name in names]
    found += [entry for entry in of_profile if service in ("", entry.service)]
    if service and not found and not profile:
        found = [entry for entry in catalogue.entries() if entry.service == service and entry.default][:1]
    if not found:
        raise UsageError("which models?", f"name some (offload models ls), or --profile {'|'.join(PROFILES)}")
    return list({entry.source: entry for entry in found}.values())


def _meant(config: Settings, word: str, service: str = "") -> Entry:
    """The model that a word means: one of an address that was used before goes by its file's name, too."""
    named = [source for source, pin in lock.pins(config).items() if "://" in source and word in (pin.name, source)]
    if len(named) > 1:
        raise UsageError(f"{word} is the name of several models", f"name one by its address: {', '.join(named)}")
    return catalogue.about(named[0]) if named else catalogue.find(service, word)


@models.command(help="Read the files of models that are here, and compare them with what they were when first used.")
@_names
def verify(names: tuple[str, ...]) -> None:
    """Print a line per model; exit code 9 when a file is corrupt, 4 when one that was named is not here."""
    config = settings.load()
    found = _known(config, names) if names else [pin for pin in _all(config) if store.here(pin, config)]
    codes = [_verified(pin, config) for pin in found]
    wrong = [code for code in codes if code and (names or code == IntegrityError.exit_code)]
    sys.exit(max(wrong, default=0))


def _all(config: Settings) -> list[Pin]:
    sources = dict.fromkeys([*lock.pins(config), *(entry.source for entry in catalogue.entries())])
    return [pin for source in sources if (pin := pinning.known(source, config))]


def _known(config: Settings, names: Iterable[str]) -> list[Pin]:
    found = []
    for name in names:
        entry = _meant(config, name)
        if entry.source.startswith(PATH):
            raise MissingHere(f"{name} is a file of yours, which has no pin: it is read as it is, each time it is used")
        pin = pinning.known(entry.source, config)
        if pin is None:
            raise MissingHere(f"{name} has no pin: it was never used", f"offload models prefetch {name}")
        found.append(pin)
    return found


def _verified(pin: Pin, config: Settings) -> int:
    """Say what is wrong with a model; returns the exit code that this deserves."""
    problems = list(store.verify(pin, config))
    corrupt = [one for one in problems if one.path]
    for one in corrupt:
        whose = (
            "it is replaced" if one.ours else "it is not ours: it is left alone, never used, and one of our own fetched"
        )
        complain(f"{pin.name}: {one.path} is corrupt; {whose} by:", f"offload models prefetch {pin.name}")
    state = (
        "corrupt" if corrupt else "missing" if len(problems) == len(pin.files) else "incomplete" if problems else "ok"
    )
    print(f"{plain(pin.name)}\t{state}", flush=True)
    return {"corrupt": IntegrityError.exit_code, "ok": 0}.get(state, MissingHere.exit_code)


@models.command(help="Delete the files of a model. Another model's stay, and so do those in other programs' caches.")
@click.argument("name", shell_complete=_complete_model)
@_on
@click.option("--unpin", is_flag=True, help="forget what it was, too: its next use takes what is newest then")
def rm(name: str, on: str, unpin: bool) -> None:
    """Delete a model's files on a target."""
    config = settings.load()
    target = _target(config, on)
    [pin] = _known(config, [name])
    others = [other for other in _all(config) if other.source != pin.source]
    said = _forgotten(config, target, pin, others) or f"nothing of {pin.name} is on {target.name}"
    if unpin:
        lock.drop(config, pin.source)
    say(plain(said))


def _forgotten(config: Settings, target: Target, pin: Pin, others: Iterable[Pin]) -> str:
    """Delete what is a model's alone; says what was deleted, and what stays for which others."""
    if holds_nothing(target):
        return ""
    with visit(target, config, Stop()) as there:
        files, absent = {file.sha256 for file in pin.files}, {file.sha256 for file in there.lacks(pin)}
        shared = {other.name: files.intersection(file.sha256 for file in other.files) for other in others}
        kept: set[str] = set().union(*shared.values())
        freed = there.forget(files - kept)
    said = [f"{amount(freed)} are free again on {target.name}"] if freed else []
    if kept - absent:
        owners = ", ".join(name for name, theirs in shared.items() if theirs - absent)
        said.append(f"{len(kept - absent)} of its files stay on {target.name}: they are those of {owners}, too")
    return "; ".join(said)
