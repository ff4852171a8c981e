"""What a client sends: a job it asks for, or the plan of one; an upload it begins. Nothing here needs FastAPI."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", examples=["0" * 64])]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""Marks a whole number: to JSON, 5.0 is one."""


class Sent(BaseModel):
    """What a client sends: nothing is passed over, nothing taken for what it is not, and no NaN becomes null."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, ser_json_inf_nan="constants")


class Begin(Sent):
    """An upload to begin. What is known by its sha256 already need not be sent."""

    size: Annotated[int, Field(ge=0, le=2**53, examples=[1048576]), WHOLE]
    sha256: Sha256


class Code(Sent):
    """A one-time code, from a login link."""

    code: Annotated[str, Field(min_length=1, max_length=200, examples=["a7Jc0bWn5m2Q"])]


class Upload(Sent):
    """An input that was uploaded (`/v1/blobs`), and the name it had."""

    blob: Sha256
    name: Annotated[str, Field(min_length=1, max_length=255, examples=["clip.mp4"])]


class Local(Sent):
    """An input on the server's machine, where its settings allow that (`serve_paths`)."""

    path: Annotated[str, Field(min_length=1, max_length=4096, examples=["/home/me/clip.mp4"])]


class Planned(Sent):
    """An input that is yet to be uploaded: enough for a plan. With its sha256, what is on a target already counts."""

    name: Annotated[str, Field(min_length=1, max_length=255, examples=["clip.mp4"])]
    size: Annotated[int, Field(ge=0, le=2**53, examples=[12_000_000]), WHOLE]
    blob: Sha256 | None = None


class Asked(Sent):
    """A job as asked for, but for its inputs. `params` are those of the service (`/v1/services`).

    The rest is as on the command line. `deadline` is in seconds from now, and goes with `when: remote`.
    """

    service: Annotated[str, Field(max_length=100, examples=["stabilize"])]
    params: Annotated[dict[str, Any], Field(examples=[{"smoothing": 30}])] = {}
    on: Annotated[str, Field(max_length=1000, examples=["auto"])] = "auto"
    fallback: bool = True
    cache: bool = True
    spread: bool = False
    when: Literal["now", "remote"] = "now"
    deadline: Annotated[float, Field(ge=0, le=366 * 86400, examples=[3600])] | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000), WHOLE] = 0


EXAMPLE: dict[str, Any] = {
    "service": "stabilize",
    "inputs": [{"blob": "31baad935bfa3dcbe98e5c19524f7ff33a6ef00d0f4b16d976cc22f44f129814", "name": "clip.mp4"}],
    "params": {"smoothing": 30},
}


class Wish(Asked):
    """A job as asked for, with its inputs."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    inputs: Annotated[list[Upload | Local], Field(min_length=1, max_length=1000)]


class Sketch(Asked):
    """A job that is yet to be asked for: its inputs may not be uploaded yet."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [EXAMPLE | {"inputs": [{"name": "clip.mp4", "size": 12_000_000}]}]}
    )

    inputs: Annotated[list[Upload | Local | Planned], Field(min_length=1, max_length=1000)]
