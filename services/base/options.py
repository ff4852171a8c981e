"""Command-line options from a service's typed parameters: one source for CLI, API and checks."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from broker.errors import UsageError
from services.base.service import Params


def options(params: type[Params]) -> list[click.Option]:
    """One option per field; the field's description is its help."""
    return [_option(name, field) for name, field in params.model_fields.items()]


def _option(name: str, field: FieldInfo) -> click.Option:
    flag = f"--{name.replace('_', '-')}"
    if field.annotation is bool:
        return click.Option([flag], is_flag=True, default=bool(field.default), help=field.description)
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    kind = click.Choice(choices) if choices else None
    shown = field.default is not None
    return click.Option(
        [flag], type=kind, default=field.default, show_default=shown, help=field.description, metavar=_metavar(field)
    )


def _metavar(field: FieldInfo) -> str | None:
    words = [_word(part) for part in (get_args(field.annotation) or (field.annotation,))]
    if get_origin(field.annotation) is Literal:
        return None
    return "|".join(word for word in words if word)


def _word(part: Any) -> str:
    if get_origin(part) is Literal:
        return "|".join(map(str, get_args(part)))
    name = getattr(get_args(part)[0] if get_args(part) else part, "__name__", "")
    return {"NoneType": "", "Path": "FILE", "PosixPath": "FILE", "str": "TEXT"}.get(name, "N")


def parse(params: type[Params], values: dict[str, Any]) -> Params:
    """Check the values given. Raises UsageError naming the option that is wrong."""
    try:
        return params(**values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = f"--{str(first['loc'][0]).replace('_', '-')}"
        raise UsageError(f"{flag} {first['input']!r}: {first['msg']}") from error
