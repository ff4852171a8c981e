"""Supplies: what a target needs and cannot download is sent from here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from broker import staging, wheels
from broker.agent import Agent
from broker.errors import IntegrityError, MissingHere
from broker.models.pin import Pin
from broker.reports import Models
from broker.settings import Settings
from broker.staging import Upload
from broker.stop import Stop
from broker.wheels import Wants
from executors.base import Executor


class Lacks(Protocol):
    """Something that a target lacks; `what` names it."""

    what: str

    def send(
        self, executor: Executor, agent: Agent, ordered: Mapping[str, Any], settings: Settings, stop: Stop
    ) -> dict[str, Any]:
        """Send it; returns what changes in the order. Raises MissingHere when it is not to be had here either."""


@dataclass(frozen=True)
class Packages:
    """Python packages, as wheels."""

    wants: Wants
    what = "packages"

    def send(
        self, executor: Executor, agent: Agent, ordered: Mapping[str, Any], settings: Settings, stop: Stop
    ) -> dict[str, Any]:
        """Send the wheels of an environment, downloaded here unless they were before."""
        environment = ordered["environment"]
        try:
            found = wheels.collect(environment["dependencies"], self.wants, settings.cache_dir / "wheels", stop)
        except MissingHere as error:
            raise MissingHere(f"{executor.name} can download nothing: {error}", error.hint) from error
        uploads = [_upload(path, staging.file_sha256(path)) for path in found]
        staging.send(executor, agent, {upload.sha256: upload for upload in uploads}, stop)
        names = [{"name": upload.path.name, "blob": upload.sha256} for upload in uploads]
        return {"environment": {**environment, "wheels": names}}


@dataclass(frozen=True)
class ModelFiles:
    """Files of the models `pins`, of those that the target named."""

    lacks: Models
    pins: Iterable[Pin]
    what = "models"

    def send(
        self, executor: Executor, agent: Agent, ordered: Mapping[str, Any], settings: Settings, stop: Stop
    ) -> dict[str, Any]:
        """Send the files. They are kept there: the next job needs none of this."""
        from broker.models import store

        uploads: dict[str, Upload] = {}
        for pin in self.pins:
            wanted = self.lacks.files & {file.sha256 for file in pin.files}
            here = {sha256: path for sha256, path in store.here(pin, settings).items() if sha256 in wanted}
            if wanted - here.keys():
                words = f"the model {pin.name} is not here to be sent, and not on {executor.name}: {self.lacks.why}"
                raise MissingHere(words, f"offload models prefetch {pin.name}")
            for sha256, path in here.items():
                _check(pin, path, sha256)
                uploads[sha256] = _upload(path, sha256)
        staging.send(executor, agent, uploads, stop)
        return {}


def _check(pin: Pin, path: Path, sha256: str) -> None:
    if staging.file_sha256(path) != sha256:
        words = f"{path}, of the model {pin.name}, is damaged, and was not sent"
        raise IntegrityError(words, f"offload models verify {pin.name}")


def send_own(executor: Executor, agent: Agent, pins: Iterable[Pin], stop: Stop) -> None:
    """Send the user's own files among models to a target that does not share them: it cannot have them otherwise."""
    own = [(pin.paths[file.path], file.sha256) for pin in pins for file in pin.files if file.path in pin.paths]
    if own and executor.local_path("jobs") is None:
        staging.send(executor, agent, {sha256: _upload(path, sha256) for path, sha256 in own}, stop)


def _upload(path: Path, sha256: str) -> Upload:
    try:
        return Upload(path, path.stat().st_size, sha256)
    except OSError as error:
        raise MissingHere(f"{path} cannot be read any more: {error.strerror}", "run the same command again") from error
