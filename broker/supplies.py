"""Supplies: packages that a target needs and cannot download are sent from here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker import staging, wheels
from broker.agent import Agent
from broker.errors import MissingHere
from broker.staging import Upload
from broker.stop import Stop
from broker.wheels import Wants
from executors.base import Executor


def send(
    executor: Executor, agent: Agent, environment: Mapping[str, Any], wants: Wants, cache: Path, stop: Stop
) -> dict[str, Any]:
    """Send a target the wheels for an environment; returns the environment that is made of them there.

    Raises MissingHere when they cannot be had here either, and what staging raises.
    """
    try:
        found = wheels.collect(environment["dependencies"], wants, cache, stop)
    except MissingHere as error:
        raise MissingHere(f"{executor.name} can download nothing: {error}", error.hint) from error
    uploads = [Upload(path, path.stat().st_size, staging.file_sha256(path)) for path in found]
    staging.send(executor, agent, {upload.sha256: upload for upload in uploads}, stop)
    return {**environment, "wheels": [{"name": upload.path.name, "blob": upload.sha256} for upload in uploads]}
