"""What has been tagged so far: the results of `tag` that are still there, and the clips they tell of."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator

from broker.broker import Broker
from broker.errors import InputError
from broker.job import FileId, Item
from services import tag
from services.base.text import shell

SERVICE = tag.SERVICE.name
ENDING = f".{tag.SERVICE.label}{tag.SERVICE.makes[0]}"
ALL = 2**31
"""More jobs than a journal has."""

BYTES = 2  # of a float16
NO_NUMBERS = frozenset(byte for byte in range(256) if byte & 0x7C == 0x7C)
"""High bytes of the float16 values that are infinite, or no number: all bits of their exponent are set."""

GONE = "the clips or their tags are gone"
OTHER = "the clips were replaced after they were tagged"
ODD = "they are no tags as `tag` writes them"


class Embeddings(BaseModel):
    """Directions of a clip's frames, as tag.py writes them: `frames` is base64 of float16, a row for each time."""

    dim: Annotated[int, Field(ge=1)]
    times: Annotated[list[Annotated[FiniteFloat, Field(ge=0)]], Field(min_length=1)]
    frames: str

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        try:
            data = base64.b64decode(self.frames, validate=True)
        except binascii.Error as error:
            raise ValueError("no base64") from error
        if len(data) != BYTES * self.dim * len(self.times) or not NO_NUMBERS.isdisjoint(data[1::BYTES]):
            raise ValueError("not a number for each place")
        return self


class Told(BaseModel):
    """What a search reads of a tags.json. `source` is empty for a model of the user's own."""

    weights: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(pattern=r"^((hf:|https?://)\S+)?$")]
    embeddings: Embeddings


@dataclass(frozen=True)
class Tagged:
    """A clip, the file of its tags, what that says, and the source of the model that made it.

    `job` and `item` made it, where that is known.
    """

    clip: Path
    tags: Path
    told: Told
    source: str
    job: str = ""
    item: Item | None = None

    @property
    def weights(self) -> str:
        """The sha256 of the weights that its embeddings are of."""
        return self.told.weights

    @property
    def embeddings(self) -> dict[str, Any]:
        """What searching takes: no name, and no path."""
        return {"weights": self.weights, **self.told.embeddings.model_dump()}


@dataclass(frozen=True)
class LeftOut:
    """A clip, or a file of tags, that is not searched, and why."""

    path: Path
    why: str


@dataclass(frozen=True)
class _Claim:
    """A file of tags, the clip it is said to tell of, and the job and item that made it, where that is known."""

    clip: Path
    tags: Path
    source: str = ""
    job: str = ""
    item: Item | None = None


Found = tuple[list[Tagged], list[LeftOut]]
Claims = Mapping[Path, Sequence[_Claim]]


def everything(broker: Broker) -> Found:
    """All that the journal knows to have been tagged, by the latest tags of each clip; and what is left out."""
    claims = _claims(broker)
    by_clip = _grouped((claim.clip, claim) for claim in claims)
    return _parted(_best(broker, of_one) for of_one in by_clip.values())


def among(broker: Broker, paths: Iterable[Path]) -> Found:
    """What has been tagged of these clips, files of tags, and folders; and what is left out.

    Raises InputError for one of which nothing was tagged, or nothing that can be searched.
    """
    claims = _claims(broker)
    known = _grouped(pair for claim in claims for pair in ((claim.clip, claim), (claim.tags, claim)))
    read: list[Tagged | LeftOut] = []
    for path in paths:
        below = sorted(path.rglob(f"*{ENDING}")) if path.is_dir() else [path]
        found = [_best(broker, of_one) for one in below if (of_one := known.get(one) or _beside(one))]
        _check(path, found)
        read += found
    return _parted(read)


def _claims(broker: Broker) -> Iterable[_Claim]:
    """Everything that was tagged, the latest first. A file of tags is what was written there last."""
    found: dict[Path, _Claim] = {}
    for job in broker.journal.jobs(ALL):
        for item in job.items if job.service == SERVICE else ():
            for output in item.outputs:
                if output.published:
                    claim = _Claim(item.source, output.dest, job.models.get("model", ""), job.id, item)
                    found.setdefault(output.dest, claim)
    return found.values()


def _grouped(pairs: Iterable[tuple[Path, _Claim]]) -> Claims:
    found: dict[Path, list[_Claim]] = {}
    for path, claim in pairs:
        found.setdefault(path, []).append(claim)
    return found


def _beside(path: Path) -> list[_Claim]:
    """A clip, or a file of tags, that no job here knows, with the file beside it that has its name."""
    if path.suffix != tag.SERVICE.makes[0]:
        tags = path.with_name(path.stem + ENDING)
        return [_Claim(path, tags)] if tags.is_file() else []
    stem = path.name.removesuffix(ENDING)
    others = (other for other in sorted(path.parent.glob("*")) if other.stem == stem)
    clip = next((other for other in others if other.suffix.lower() in tag.SERVICE.accepts), path)
    return [_Claim(clip, path)] if path.is_file() else []


def _best(broker: Broker, claims: Sequence[_Claim]) -> Tagged | LeftOut:
    """The first that holds; where none does, why the first does not."""
    read = (_read(broker, claim) for claim in claims)
    first = next(read)
    return first if isinstance(first, Tagged) else next((one for one in read if isinstance(one, Tagged)), first)


def _read(broker: Broker, claim: _Claim) -> Tagged | LeftOut:
    try:
        if not claim.tags.is_file() or not claim.clip.is_file():
            return LeftOut(claim.clip, GONE)
        if claim.item and not _is_same(broker, claim.clip, claim.item):
            return LeftOut(claim.clip, OTHER)
        told = Told.model_validate_json(claim.tags.read_bytes())
    except OSError as error:
        return LeftOut(claim.clip, f"they cannot be read: {error.strerror}")
    except ValidationError:
        return LeftOut(claim.tags, ODD)
    return Tagged(claim.clip, claim.tags, told, claim.source or told.source, claim.job, claim.item)


def _is_same(broker: Broker, clip: Path, item: Item) -> bool:
    """Whether a clip is the file that was tagged, or has its content."""
    return FileId.of(clip) == item.file_id or broker.journal.hashes.identify(clip)[1] == item.sha256


def _check(path: Path, found: Sequence[Tagged | LeftOut]) -> None:
    if not found:
        raise InputError(f"{path}: nothing of this was tagged", shell(["offload", SERVICE, str(path)]))
    if isinstance(left := found[0], LeftOut) and all(isinstance(one, LeftOut) for one in found):
        again = shell(["offload", SERVICE, "--overwrite", str(path)])
        raise InputError(f"{path}: nothing of this can be searched: {left.why}", again)


def _parted(read: Iterable[Tagged | LeftOut]) -> Found:
    """What holds, and what does not, each once."""
    each = {one.tags if isinstance(one, Tagged) else one.path: one for one in read}.values()
    return [one for one in each if isinstance(one, Tagged)], [one for one in each if isinstance(one, LeftOut)]
