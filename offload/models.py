"""`offload models`: which there are, which are here, fetching them before they are needed, and being rid of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click

from broker import models as models_of
from broker import settings, targets
from broker.errors import PARTLY, IntegrityError, Interrupted, MissingHere, OffloadError, UsageError
from broker.models import catalogue, hub, lock, pinning, store
from broker.models.catalogue import Entry
from broker.models.pin import HUB, PATH, Pin
from broker.models.prefetch import Visit, holds_nothing, visit
from broker.settings import Settings
from broker.stop import Stop
from broker.targets import LOCAL, Target
from executors.base import ExecutorError
from services.base.output import print_document
from services.base.progress import say
from services.base.text import complain, plain
from services.base.through import opened

PROFILES = ("edge", "minimum", "production")

Failure = OffloadError | ExecutorError


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
    rows = list(_rows(config, service, _target(config, on)))
    if as_json:
        print_document(rows)
        return
    for row in rows:
        about = (row["name"], row["service"], row["licence"], _size(row), row["revision"][:12] or "-", row["here"])
        print("\t".join(plain(word) or "-" for word in about))


def _rows(config: Settings, service: str, target: Target) -> Iterator[dict[str, Any]]:
    pins = lock.pins(config)
    listed = {entry.source: entry for entry in catalogue.entries()}
    listed |= {source: catalogue.about(source) for source in pins if source not in listed}
    found = [entry for entry in listed.values() if service in ("", entry.service)]
    known = {entry.source: pin for entry in found if (pin := pinning.known(entry.source, config))}
    there = _there(config, known, target)
    for entry in found:
        yield _row(entry, known.get(entry.source), there.get(entry.source) or _unpinned(entry, target))


def _row(entry: Entry, pin: Pin | None, here: str) -> dict[str, Any]:
    exact = pin.size if pin and all(file.size is not None for file in pin.files) else None
    return {
        "name": entry.name,
        "service": entry.service,
        "engine": entry.engine,
        "source": entry.source,
        "licence": entry.licence,
        "size_bytes": entry.size_bytes if exact is None else exact,
        "verified": entry.verified or exact is not None,
        "memory_bytes": entry.memory_bytes,
        "gated": entry.gated,
        "default": entry.default,
        "profiles": list(entry.profiles),
        "revision": pin.revision if pin else "",
        "here": here,
    }


def _size(row: Mapping[str, Any]) -> str:
    if row["size_bytes"] is None:
        return "size unknown"
    return f"{row['size_bytes'] / 1e6:.0f} MB" + ("" if row["verified"] else ", unverified")


def _there(config: Settings, known: Mapping[str, Pin], target: Target) -> dict[str, str]:
    """For each source: "yes", "partly" or "no"."""
    if holds_nothing(target):
        return {}
    if target.name == LOCAL:
        lacking = {source: store.missing(pin, config) for source, pin in known.items()}
    else:
        with visit(target, config, Stop()) as there:
            lacking = {source: there.lacks(pin) for source, pin in known.items()}
    return {source: _how_much(known[source], len(files)) for source, files in lacking.items()}


def _unpinned(entry: Entry, target: Target) -> str:
    return "yes" if target.name == LOCAL and entry.source.startswith(HUB) and hub.snapshot(entry.source) else "no"


def _how_much(pin: Pin, lacking: int) -> str:
    return "yes" if not lacking else "no" if lacking == len(pin.files) else "partly"


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
    wanted = _wanted(names, service, profile)
    with opened(quiet) as broker:
        fetching = _Fetching(broker.settings, _target(broker.settings, on), quiet)
        code = fetching.code(wanted)
    sys.exit(code)


def _wanted(names: Iterable[str], service: str, profile: str | None) -> list[Entry]:
    of_profile = [entry for entry in catalogue.entries() if profile in entry.profiles]
    found = [catalogue.find(service, name) for name in names]
    found += [entry for entry in of_profile if service in ("", entry.service)]
    if service and not found and not profile:
        found = [entry for entry in catalogue.entries() if entry.service == service and entry.default][:1]
    if not found:
        raise UsageError("which models?", f"name some (offload models ls), or --profile {'|'.join(PROFILES)}")
    return list({entry.source: entry for entry in found}.values())


@dataclass
class _Fetching:
    """One use of `prefetch`: what fails is said at once, and the rest is done."""

    config: Settings
    target: Target
    quiet: bool

    def __post_init__(self) -> None:
        self._codes: list[int] = []
        self._stop = Stop()

    def code(self, wanted: Iterable[Entry]) -> int:
        """Do it; returns the exit code."""
        with self._stop.on_signals():
            try:
                pins = [pin for entry in wanted if (pin := self._pinned(entry))]
                if pins:
                    self._fetch(pins)
            except KeyboardInterrupt:
                return Interrupted.exit_code
            except (OffloadError, ExecutorError) as error:  # of all that are left
                complain(error, error.hint)
                return PARTLY if 0 in self._codes and error.exit_code != Interrupted.exit_code else error.exit_code
        return self._codes[0] if len(set(self._codes)) == 1 else PARTLY

    def _pinned(self, entry: Entry) -> Pin | None:
        self._check_stopped()
        try:
            return models_of.resolve(entry.source, self.config, entry.name)
        except OffloadError as error:
            self._failed(error)
            return None

    def _fetch(self, pins: list[Pin]) -> None:
        with visit(self.target, self.config, self._stop, take=True) as there:
            there.check_room(pins)
            for pin in pins:
                self._check_stopped()
                self._bring(there, pin)

    def _bring(self, there: Visit, pin: Pin) -> None:
        try:
            for note in there.bring(pin):
                if not self.quiet:
                    say(plain(note.message))
        except Interrupted:
            raise
        except OffloadError as error:
            self._failed(error)
            return
        self._codes.append(0)
        print(plain(pin.name), flush=True)

    def _failed(self, error: Failure) -> None:
        complain(error, error.hint)
        self._codes.append(error.exit_code)

    def _check_stopped(self) -> None:
        if self._stop.requested:
            raise Interrupted("stopped; what was fetched counts", "type it again")


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
        entry = catalogue.find("", name)
        pin = pinning.known(entry.source, config)
        if pin is None:
            why = "it is the user's own" if entry.source.startswith(PATH) else "it was never used"
            raise MissingHere(f"{name} has no pin to compare it with: {why}", f"offload models prefetch {name}")
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
    others = {file.sha256 for other in _all(config) if other.source != pin.source for file in other.files}
    freed = 0
    if not holds_nothing(target):
        with visit(target, config, Stop()) as there:
            freed = there.forget({file.sha256 for file in pin.files} - others)
    if unpin:
        lock.drop(config, pin.source)
    say(f"{freed / 1e6:.0f} MB are free again on {target.name}" if freed else f"nothing of {name} is on {target.name}")
