"""Command-line options from a service's typed parameters: one source for CLI, API and checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from broker.errors import UsageError
from services.base.service import Params

NOUNS = {int: "a whole number", float: "a number", Path: "a file", str: "text", bool: "true or false"}
METAVARS = {int: "N", float: "N", Path: "FILE", str: "TEXT"}


def options(params: type[Params]) -> list[click.Option]:
    """One option per field; the field's description is its help."""
    return [_option(name, field) for name, field in params.model_fields.items()]


def _option(name: str, field: FieldInfo) -> click.Option:
    flag = f"--{name.replace('_', '-')}"
    if field.annotation is bool:
        return click.Option([flag], is_flag=True, default=bool(field.default), help=field.description)
    short = [field.json_schema_extra["short"]] if isinstance(field.json_schema_extra, dict) else []
    kinds = list(_kinds(field.annotation, field.metadata))
    ranges = [words for _, bounds in kinds if (words := _range(bounds))]
    return click.Option(
        [*map(str, short), flag],
        type=_type(field.annotation, [kind for kind, _ in kinds]),
        default=",".join(field.default) if isinstance(field.default, tuple) else field.default,
        show_default=field.default is not None,
        help="; ".join([field.description or "", *ranges]),
        metavar=_metavar(field.annotation, [kind for kind, _ in kinds]),
    )


def _type(annotation: Any, kinds: Sequence[Any]) -> click.ParamType[Any]:
    """How the shell completes it. Whether a value is right is for the parameters to say, not for click."""
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    return click.Path(readable=False) if Path in kinds else click.STRING


def _kinds(part: Any, notes: Sequence[Any]) -> Iterator[tuple[Any, Sequence[Any]]]:
    """What a value may be: types and literals, each with what bounds it. `X | None` is X, or not given."""
    if get_origin(part) is Annotated:
        part, *own = get_args(part)
        yield from _kinds(part, [bound for note in own for bound in getattr(note, "metadata", [note])])
    elif get_origin(part) in (Union, UnionType):
        for one in get_args(part):
            yield from _kinds(one, notes)
    elif get_origin(part) is tuple:  # tuple[X, ...]
        yield from _kinds(get_args(part)[0], notes)
    elif get_origin(part) is Literal:
        yield from ((value, ()) for value in get_args(part))
    elif part is not NoneType:
        yield part, notes


def _metavar(annotation: Any, kinds: Sequence[Any]) -> str | None:
    words = "|".join(METAVARS[kind] if kind in METAVARS else str(kind) for kind in kinds)
    if get_origin(annotation) is tuple:
        return f"{words}[,...]"
    return None if get_origin(annotation) is Literal else words


def _range(notes: Sequence[Any]) -> str:
    bounds = {name: getattr(note, name) for note in notes for name in ("ge", "le") if hasattr(note, name)}
    match sorted(bounds):
        case ["ge", "le"]:
            return f"{bounds['ge']} to {bounds['le']}"
        case ["ge"]:
            return f"{bounds['ge']} or more"
    return ""


def _wanted(field: FieldInfo) -> str:
    kinds = _kinds(field.annotation, field.metadata)
    return " or ".join(f"{NOUNS.get(kind, kind)}, {_range(bounds)}".removesuffix(", ") for kind, bounds in kinds)


def parse(params: type[Params], values: dict[str, Any]) -> Params:
    """Check the values given. Raises UsageError naming the option that is wrong, and what it takes."""
    try:
        return params(**values)
    except ValidationError as error:
        name, wanted = mistake(params, error)
        raise UsageError(f"--{name.replace('_', '-')} {values[name]!r}: {wanted}") from error


def mistake(params: type[Params], error: ValidationError) -> tuple[str, str]:
    """The first parameter that is wrong, and what it takes. The name is empty where all of them cannot be read."""
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else ""
    if first["type"] == "value_error":  # a parameter's own check says best what it wants
        return name, str(first["ctx"]["error"])
    return name, f"it takes {_wanted(params.model_fields[name])}" if name else first["msg"]
