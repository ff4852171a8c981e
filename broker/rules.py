"""Rules: what may leave this machine, where it may go, and where it had better go; `[[rules]]` in `config.toml`.

[[rules]]
folder = "~/private"
on = "local"

A rule is about what lies in a folder, or about a service, or about both at once. It says one of: `on = "local"`, it
never leaves this machine; `only`, these targets and no other; `prefer`, these first. One that forbids holds whatever
is typed, and wherever a job comes from.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, model_validator

from broker.errors import ConfigError, UsageError
from executors.options import at_home

HERE = "local"


def _whole(folder: Path) -> Path:
    whole = at_home(folder)
    if not whole.is_absolute():
        raise ValueError("write the folder in full, as in /home/me/private or ~/private")
    return whole


def _named(names: object) -> object:
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError('name one target or more, as in ["my-box"]')
    return names


Names = Annotated[tuple[str, ...], BeforeValidator(_named)]


class Rule(BaseModel):
    """One rule. `on` and `only` forbid, `prefer` advises."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Annotated[Path, AfterValidator(_whole)] | None = None
    service: str | None = None
    on: Literal["local"] | None = None
    only: Names | None = None
    prefer: Names | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if self.folder is None and self.service is None:
            raise ValueError("it needs a folder, a service, or both")
        if sum(said is not None for said in (self.on, self.only, self.prefer)) != 1:
            raise ValueError('it says one of on = "local", only = [...] and prefer = [...]')
        return self

    @property
    def allowed(self) -> tuple[str, ...] | None:
        """The targets that it allows; None where it forbids none."""
        return (HERE,) if self.on else self.only

    @property
    def named(self) -> tuple[str, ...]:
        """The targets that it names."""
        return (*(self.only or ()), *(self.prefer or ()))

    def concerns(self, service: str, sources: Collection[Path]) -> bool:
        """Whether it is about a job of `service` on these files: one in the folder is enough, by any of its names."""
        if self.service not in (None, service):
            return False
        return self.folder is None or any(_lies_in(parent, self.folder) for parent in _parents(sources))

    def __str__(self) -> str:
        about = [f"{name} = {str(value)!r}" for name in ("folder", "service") if (value := getattr(self, name))]
        return " and ".join(about)


def _parents(sources: Iterable[Path]) -> set[Path]:
    """The folders that files lie in, as they were named and as links lead to."""
    absolute = {Path(os.path.abspath(source)) for source in sources}  # noqa: PTH100 - `..` counts as it is written
    real = {Path(os.path.realpath(source)) for source in sources}
    return {path.parent for path in absolute | real} | {Path(os.path.realpath(path.parent)) for path in absolute}


def _lies_in(place: Path, folder: Path) -> bool:
    if place.is_relative_to(folder):  # also one that is not there for now
        return True
    # It may be a link itself, and a file system may know it by other spellings.
    return folder.exists() and any(parent.exists() and parent.samefile(folder) for parent in (place, *place.parents))


class Forbidden(UsageError):
    """A rule does not allow what was asked for."""


def check(rules: Sequence[Rule], targets: Collection[str], file: Path) -> None:
    """Raise ConfigError for a rule that names a target there is not."""
    for number, rule in enumerate(rules, 1):
        if unknown := [name for name in rule.named if name not in targets]:
            what = f"rule {number} in {file} names {unknown[0]!r}, which is no target; there are: {', '.join(targets)}"
            raise ConfigError(what, f"edit {file}")


def check_services(rules: Sequence[Rule], services: Collection[str], file: Path) -> None:
    """Raise ConfigError for a rule about a service there is not: it would never forbid anything."""
    for number, rule in enumerate(rules, 1):
        if rule.service is not None and rule.service not in services:
            known = ", ".join(sorted(services))
            what = f"rule {number} in {file} is about {rule.service!r}, which is no service; there are: {known}"
            raise ConfigError(what, f"edit {file}")


def allowed(
    rules: Sequence[Rule], names: Sequence[str], on: str, service: str, sources: Collection[Path], file: Path
) -> list[str]:
    """Those of the targets `names`, which `on` came to, that a job may go to.

    Raises Forbidden where none is left, and where one was named that may not be.
    """
    barred = forbidden(rules, names, service, sources)
    left = [name for name in names if name not in barred]
    if barred and (not left or on not in ("auto", "remote")):
        name, number = next(iter(barred.items()))
        may = ",".join(rules[number - 1].allowed or ())
        raise Forbidden(sentence(number, rules[number - 1], name, file), f"--on {may}, or edit {file}")
    return left


def forbidden(rules: Sequence[Rule], names: Sequence[str], service: str, sources: Collection[Path]) -> dict[str, int]:
    """Those of the targets `names` that a job may not go to, each with the number of the first rule that says so."""
    found: dict[str, int] = {}
    for number, rule in enumerate(rules, 1):
        if rule.allowed is not None and rule.concerns(service, sources):
            found |= {name: number for name in names if name not in rule.allowed and name not in found}
    return found


def sentence(number: int, rule: Rule, name: str, file: Path) -> str:
    """What a rule says of a job that it keeps from the target `name`."""
    what = "never leaves this machine" if rule.on else f"goes to {', '.join(rule.allowed or ())} only"
    return f"rule {number} in {file} ({rule}) says that this {what}: it may not go to {name}"


def preferred(rules: Sequence[Rule], service: str, sources: Collection[Path]) -> Mapping[str, int]:
    """The targets that rules prefer for a job, the first first, each with the number of the rule that says so."""
    found: dict[str, int] = {}
    for number, rule in enumerate(rules, 1):
        if rule.prefer and rule.concerns(service, sources):
            found |= {name: number for name in rule.prefer if name not in found}
    return found


def rule_mistake(error: Mapping[str, Any], file: Path) -> str:
    """A sentence about a rule that is none, from what pydantic found."""
    where = error["loc"]
    which = f"rule {where[1] + 1}" if len(where) > 1 and isinstance(where[1], int) else "rules"
    key = ".".join(str(word) for word in where[2:])
    return f"{which} in {file}{f', {key}' if key else ''}: {str(error['msg']).removeprefix('Value error, ')}"
