"""What the server tells, for itself and its client alike. Nothing here needs FastAPI."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from server.examples import EXAMPLES


def _with_example(schema: dict[str, Any], model: type[BaseModel]) -> None:
    if model.__name__ in EXAMPLES:
        schema["examples"] = [EXAMPLES[model.__name__]]


class Told(BaseModel):
    """What the server tells. A later one may tell more."""

    model_config = ConfigDict(frozen=True, json_schema_extra=_with_example)


class Problem(Told):
    """A problem document (RFC 9457). `hint` is what to do next, `exit_code` what the command line would end with."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    hint: str = ""
    exit_code: int
    errors: list[dict[str, str]] = []


# Jobs


class Output(Told):
    """An output that is there: `name` is for its address, `file` what to save it as, `kind` its media type."""

    name: str
    file: str
    kind: str
    size: int
    sha256: str


class Item(Told):
    """One input of a job. `progress` is 0 to 1; `speed` in times real time and `eta` in seconds, 0 while unknown.

    `measured` is what the script measured, `summary` that in a few words. `viewable`: the input is still there.
    """

    index: int
    name: str
    size: int
    sha256: str
    kind: str
    state: Literal["open", "done", "failed"]
    progress: float
    speed: float
    eta: float
    error: str | None
    measured: dict[str, Any]
    summary: str
    viewable: bool
    outputs: list[Output]


class Attempt(Told):
    """One try of a job on one target, why there, and how it went. `items` are the indices it was about; None: all."""

    number: int
    target: str
    prepares: bool
    items: list[int] | None
    reason: str
    state: str
    error: str | None
    seconds: float | None


State = Literal["queued", "waiting", "running", "detached", "interrupted", "done", "partly", "failed", "cancelled"]


class Job(Told):
    """A job as it is now: `revision` names exactly this. `why` is what it waits for; `created` is a time in seconds.

    `hint` is what to type next for one that failed, if there is more to do than to read its errors.
    """

    job: str
    revision: str
    service: str
    state: State
    over: bool
    why: str
    error: str | None
    hint: str
    exit_code: int | None
    progress: float
    created: float
    seconds: float | None
    params: dict[str, Any]
    command: str
    items: list[Item]
    attempts: list[Attempt]


class Row(Told):
    """A job in a list: `first` is its first input's name, of `items` in all."""

    job: str
    service: str
    state: State
    over: bool
    why: str
    progress: float
    created: float
    first: str
    items: int


class Jobs(Told):
    """Jobs, newest first. `more` when there are older ones: asked for with `before` as it stands here."""

    jobs: list[Row]
    more: bool
    before: str | None


class Gone(Told):
    """A job that was removed, as an event."""

    job: str


class Removed(Told):
    """What DELETE did: an open job is cancelled, and asked for again it is removed; `silent` targets were not told."""

    job: str
    did: Literal["cancelled", "ending", "removed"]
    silent: list[str] = []


# Blobs


class Blob(Told):
    """An upload, as far as it has come; whole when `offset` is `size`, and then an input may name its sha256."""

    upload: str
    sha256: str
    size: int
    offset: int
    known: bool


# What there is


class Service(Told):
    """A service: its parameters as a JSON schema, and the suffixes it takes and makes."""

    name: str
    summary: str
    accepts: list[str]
    makes: list[str]
    contract: Literal["bytes", "close"]
    params: dict[str, Any]


class Target(Told):
    """A place a job can run, as it answered."""

    name: str
    kind: str
    state: str
    reachable: bool
    cpus: int | None
    gpu: str | None
    disk_free_bytes: int | None
    reason: str
    holds: str | None


class Step(Told):
    """A step of looking at a target: what was found, or why not and what to type."""

    name: str
    ok: bool
    said: str
    hint: str


class Checkup(Told):
    """What looking at all a job needs of a target came to: the first step that failed is the last."""

    target: str
    ok: bool
    steps: list[Step]


class Place(Told):
    """A target in a plan: bytes to send, seconds in all and by phase, and why it stands where it does."""

    target: str
    state: Literal["ready", "away", "closed", "unfit"]
    reachable: bool
    send_bytes: int
    seconds: float | None
    phases: dict[str, float]
    known: dict[str, str]
    link: str
    reason: str


class Plan(Told):
    """The targets in the order they would be tried, and the sentence why the first is first.

    `cached` are the indices of inputs that were made before: the cache answers, unless `cache` is false.
    """

    targets: list[Place]
    why: str
    cached: list[int]


class Model(Told):
    """A model of the catalogue, and whether it is on the server's machine. `id`, its name, is for OpenAI's clients."""

    id: str
    object: Literal["model"] = "model"
    name: str
    service: str
    engine: str
    licence: str
    size_bytes: int | None
    default: bool
    gated: bool
    here: bool


class Models(Told):
    """The models, in the shape that OpenAI's clients list them."""

    object: Literal["list"] = "list"
    data: list[Model]


class Moment(Told):
    """A moment that was found: the job and item that tagged it, the second, and how well it fits."""

    job: str
    item: int
    name: str
    seconds: float
    score: float
    viewable: bool


class Found(Told):
    """The best moments, and what could not be looked at."""

    moments: list[Moment]
    left_out: list[str]


class Notice(Told):
    """What a person should see to, and the command that does it, or tells more."""

    said: str
    command: str


class Health(Told):
    """That the server serves: its version, how many jobs are not over, and what a person should see to."""

    version: str
    open_jobs: int
    notices: list[Notice]


class Link(Told):
    """A login link: good once, for ten minutes."""

    link: str
