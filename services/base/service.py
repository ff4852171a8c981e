"""What a service is: typed parameters, a script, and which outputs an input has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from services.base.compare import Compare, exactly

Suffixes = frozenset[str]


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return tuple(value) if isinstance(value, list) else value  # JSON has no tuples


Listed = BeforeValidator(_split)
"""Marks a tuple that is typed as words with commas between them: `Annotated[tuple[Word, ...], Listed]`."""


class Params(BaseModel):
    """Parameters of a service: each field is a command-line option and a field of the API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def for_script(self) -> dict[str, Any]:
        """What the script is told: plain values, and never a path of the user's."""
        return self.model_dump(mode="json")

    def for_preparation(self) -> dict[str, Any]:
        """What the script that prepares inputs is told: what is the same here need not be prepared again."""
        return {}

    def models(self) -> dict[str, str]:
        """The models that the script needs: role -> source, as `broker.models` reads it."""
        return {}


@dataclass(frozen=True)
class Service:
    """A service.

    Args:
        name: as in `offload NAME` and `services.NAME`.
        summary: one line for `--help`.
        params: the class of its parameters.
        script: file name of its script in `remote_scripts`, or a path of its own.
        accepts: suffixes of files picked up from folders.
        makes: suffixes an output may have; the first is the default where the input's own is not among them.
        label: what stands between name and suffix of a default output: `clip.LABEL.mp4`; may be empty: `clip.srt`.
        outputs: (destination, parameters) -> fixed name the script writes -> where it goes.
        options: destination -> settings of its own for one input.
        extras: parameters -> optional dependency sets the script then needs.
        prepare: file name of the script that makes of each input, here, the smallest that `script` needs.
        describe: what a script measured -> a few words for a person.
        contract: how equal outputs are wherever they are made: "bytes", or "close" on machines of another kind.
        unit: what `amount` counts: pixels, seconds, pictures.
        compare: how equal two outputs are whose bytes differ. What it imports, it imports when it is called.
        amount: (input, parameters) -> how much work it is, by its header alone; None where that cannot be told here.
    """

    name: str
    summary: str
    params: type[Params]
    script: str | Path
    accepts: Suffixes
    makes: tuple[str, ...]
    label: str
    outputs: Callable[[Path, Any], Mapping[str, Path]]
    options: Callable[[Path], Mapping[str, Any]] = lambda dest: {}
    extras: Callable[[Any], tuple[str, ...]] = lambda params: ()
    prepare: str = ""
    describe: Callable[[Mapping[str, Any]], str] = lambda measured: ""
    contract: str = "bytes"
    compare: Compare = exactly
    unit: str = ""
    amount: Callable[[Path, Any], float | None] = lambda source, params: None
