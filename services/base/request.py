"""A job to ask the broker for, made in one way for the command line and the server: a service, inputs and terms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from broker import scripts
from broker.errors import UsageError
from broker.job import Input, Preparation, Request
from broker.targets import LOCAL
from services.base.service import Params, Service

REMOTE = "remote"
NOW = "now"


@dataclass(frozen=True)
class Terms:
    """How a job is to be had, apart from its service's parameters: each is an option of every service.

    `deadline` is in seconds since the epoch. A `detached` job is left to the background.

    Raises UsageError for what makes no sense together.
    """

    on: str = "auto"
    fallback: bool = True
    overwrite: bool = False
    keep: bool = False
    cache: bool = True
    spread: bool = False
    when: str = NOW
    deadline: float | None = None
    priority: int = 0
    detached: bool = False

    def __post_init__(self) -> None:
        if self.spread and not self.fallback:
            raise UsageError("--spread and --no-fallback exclude each other: the one uses all targets, the other one")
        if self.deadline is not None and self.when != REMOTE:
            raise UsageError("--deadline says how long --when remote waits: it goes with that alone")
        if self.when == REMOTE and self.on == LOCAL:
            raise UsageError("--when remote waits for another machine than this one, and --on local forbids it")

    @property
    def waits(self) -> str:
        """What the job is to wait for; empty when it is for nothing but its turn."""
        return "" if self.when == NOW else self.when

    @property
    def background(self) -> bool:
        """Whether it is seen through in the background."""
        return self.detached or bool(self.waits)


def request(
    service: Service,
    params: Params,
    inputs: Sequence[Input],
    terms: Terms,
    command: Sequence[str],
    folder: Path,
    session: str,
) -> Request:
    """The request for a job; `command` typed in `folder` has the same, `session` is who asks for it."""
    return Request(
        service=service.name,
        script=scripts.folder() / service.script,  # a path of its own stays what it is
        params=params.for_script(),
        inputs=tuple(inputs),
        on=terms.on,
        fallback=terms.fallback,
        overwrite=terms.overwrite,
        keep=terms.keep,
        extras=service.extras(params),
        prepare=_preparation(service, params),
        models=params.models(),
        command=tuple(command),
        folder=folder,
        detached=terms.background,
        contract=service.contract,
        unit=service.unit,
        cache=terms.cache,
        spread=terms.spread,
        waits=terms.waits,
        deadline=terms.deadline,
        priority=terms.priority,
        session=session,
    )


def _preparation(service: Service, params: Params) -> Preparation | None:
    script = service.prepare
    return Preparation(scripts.folder() / script, params.for_preparation()) if script else None
