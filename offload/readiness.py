"""Is every service ready to work without a network? Found out by letting each do a little work, with none."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import services
from broker import scripts
from broker.broker import Broker
from broker.errors import JobFailed, MissingHere, OffloadError
from broker.models import cached, catalogue, pinning, store
from broker.models.catalogue import Entry
from broker.models.pin import HUB, PATH
from broker.settings import Settings
from executors.base import ExecutorError
from offload.sample import sample
from services.base.service import Params, Service
from services.base.text import typed

READY, MISSING, FAILED, NOT_INSTALLED = "ready", "missing", "failed", "not installed"


@dataclass(frozen=True)
class Readiness:
    """A line of the table: what a service can do here without a network, and `said`, what to do about it."""

    service: str
    model: str
    state: str
    said: str = ""


def exit_code(found: Sequence[Readiness]) -> int:
    """0 when all services that are installed are ready, 6 when one failed, 4 when one lacks its models."""
    states = {one.state for one in found}
    if FAILED in states:
        return JobFailed.exit_code
    return MissingHere.exit_code if MISSING in states else 0


def readiness(broker: Broker) -> Iterator[Readiness]:
    """Try every service, with its own choice of models, else with any that is here."""
    with tempfile.TemporaryDirectory(prefix="offload-doctor-") as folder:
        for name in services.names():
            yield _of(broker, services.find(name), Path(folder))


def _of(broker: Broker, service: Service, folder: Path) -> Readiness:
    try:
        broker.check_here(scripts.folder() / service.script)
    except (OffloadError, ExecutorError) as error:
        return Readiness(service.name, "-", NOT_INSTALLED, getattr(error, "hint", "") or str(error))
    usual = service.params()
    lacking = _lacking(usual, broker.settings)
    if not lacking:
        return _tried(service, _called(usual), (), folder)
    for entry in catalogue.entries():
        if entry.service == service.name and not _lacks(entry.source, broker.settings):
            return _tried(service, entry.name, _choosing(service, entry), folder)
    fetch = typed(catalogue.absent(lacking).hint)
    return Readiness(service.name, _called(usual), MISSING, f"{_sizes(lacking)}: {fetch}")


def _lacking(params: Params, settings: Settings) -> list[Entry]:
    return [catalogue.about(source) for source in params.models().values() if _lacks(source, settings)]


def _lacks(source: str, settings: Settings) -> bool:
    """Whether a model could not be loaded now, without a network."""
    if source.startswith(PATH):
        return not Path(source.removeprefix(PATH)).exists()
    pin = pinning.known(source, settings)
    if pin is None:
        return not (source.startswith(HUB) and cached.snapshot(source))
    return bool(store.missing(pin, settings))


def _called(params: Params) -> str:
    sources = [source for source in params.models().values() if not source.startswith(PATH)]
    return ", ".join(catalogue.about(source).name for source in sources) or "-"


def _sizes(lacking: Sequence[Entry]) -> str:
    return ", ".join(catalogue.size(entry) for entry in lacking)


def _choosing(service: Service, entry: Entry) -> tuple[str, ...]:
    """The options that choose a model."""
    engine = ("--engine", entry.engine) if "engine" in service.params.model_fields else ()
    return ("--model", entry.name, *engine)


def _tried(service: Service, model: str, options: Sequence[str], folder: Path) -> Readiness:
    """Do a little work in a process that may ask nobody, and in a journal of its own."""
    made = sample(service.accepts, folder)
    command = [sys.executable, "-m", "offload", service.name, str(made)]
    command += ["-o", f"{folder / service.name}/", "--on", "local", "--offline", "--quiet", *options]
    done = subprocess.run(
        command,
        env={**os.environ, "OFFLOAD_STATE_DIR": str(folder / "state")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0 and done.stdout.strip():
        return Readiness(service.name, model, READY)
    state = MISSING if done.returncode == MissingHere.exit_code else FAILED
    return Readiness(service.name, model, state, _why(done, made))


def _why(done: subprocess.CompletedProcess[bytes], about: Path) -> str:
    """What it said first: of its input, or why there was no job, and what to type then."""
    first, *more = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"it ended with {done.returncode}"]
    hint = [line.strip() for line in more[:1]] if first.startswith("error: ") else []
    return ": ".join([first.removeprefix(f"{about}: ").removeprefix("error: "), *hint])
