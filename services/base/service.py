"""What a service is: typed parameters, a script, and which outputs an input has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

Suffixes = frozenset[str]


class Params(BaseModel):
    """Parameters of a service: each field is a command-line option and a field of the API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def for_script(self) -> dict[str, Any]:
        """What the script is told: plain values, and never a path of the user's."""
        return self.model_dump(mode="json")


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
        label: what stands between name and suffix of a default output: `clip.LABEL.mp4`.
        outputs: (destination, parameters) -> fixed name the script writes -> where it goes.
        options: destination -> settings of its own for one input.
        extras: parameters -> optional dependency sets the script then needs.
        describe: what a script measured -> a few words for a person.
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
    describe: Callable[[Mapping[str, Any]], str] = lambda measured: ""
