"""Which of a service's parameters the server takes, and how: all that reads or names a file here is left out.

That is decided by the type of a field and by its name, in this place. What a client may say otherwise is what a person
may on the command line, checked by the same class.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from broker.errors import UsageError
from broker.models import catalogue
from server.wishes import Wish
from services.base.options import mistake
from services.base.service import Params, Service
from services.base.text import plain

UNOFFERED = frozenset({"trust_remote_code", "extend"})
"""What is nobody's to ask for from afar: to run code of a model's own; and what only goes with a file here."""

PLACED = frozenset({"report"})
"""Files that are made on request: a client says whether, the server in which folder."""

FLAG = re.compile(r"--([a-z]+(?:-[a-z]+)*)")
SAID = {"--no-fallback": "fallback: false", "--when remote": "when: remote", "--on local": "on: local"}
SHOWN_CHARS = 100

Schema = dict[str, Any]


def schema(service: Service) -> Schema:
    """The JSON schema of the parameters that clients may give. None of them need be given, and null is as not given."""
    whole = service.params.model_json_schema()
    fields = {name: _field(service, name, field) for name, field in whole["properties"].items() if _is(name, field)}
    return {"type": "object", "properties": fields, "additionalProperties": False}


def _is(name: str, field: Schema) -> bool:
    return name not in UNOFFERED and (not _is_path(field) or name in PLACED)


def _is_path(field: Schema) -> bool:
    return any(one.get("format") == "path" for one in [field, *field.get("anyOf", ())])


def _field(service: Service, name: str, field: Schema) -> Schema:
    if _is_path(field):
        what, _, _ = field["description"].partition(";")  # then: where it goes
        return {"type": "boolean", "default": False, "description": what}
    field = {key: value for key, value in field.items() if key not in ("title", "short")}
    choices = [one for one in field.pop("anyOf", ()) if one != {"type": "null"}]
    if field["default"] is None:
        del field["default"]
    field |= choices[0] if len(choices) == 1 else {"anyOf": choices} if choices else {}
    if name == "model":
        field |= {"enum": _models(service), "description": "a model of the catalogue; /v1/models tells of each"}
    if field.get("type") == "array":
        field |= {"minItems": 1, "description": f"which to make; without this, {service.makes[0].removeprefix('.')}"}
    return field


def _models(service: Service) -> list[str]:
    """The models to choose from: an engine's own carry its name in the catalogue, which need not be said twice."""
    return list(dict.fromkeys(_short(entry) for entry in _entries(service)))


def _entries(service: Service) -> list[catalogue.Entry]:
    return [one for one in catalogue.entries() if one.service == service.name and not one.trust_remote_code]


def _short(entry: catalogue.Entry) -> str:
    return entry.name.removeprefix(f"{entry.engine}-")


@cache
def _offered(service: Service) -> Mapping[str, Schema]:
    fields: Mapping[str, Schema] = schema(service)["properties"]
    return fields


def check(service: Service, given: Mapping[str, Any]) -> Params:
    """The parameters that a client gave. A file that is to be made has no place yet (see `placed`).

    Raises UsageError naming the field that is wrong, and what it takes.
    """
    given = {name: value for name, value in given.items() if value is not None}
    offered = _offered(service)
    for name, value in given.items():
        if name not in offered:
            raise UsageError(f"{service.name} takes no {_shown(name)}; it takes: {', '.join(offered)}", "/v1/services")
        if offered[name].get("type") == "array" and (not isinstance(value, list) or not value):
            raise UsageError(f"{name} {_shown(value)}: it takes a list, with one entry at least")
        if name in PLACED and not isinstance(value, bool):
            raise UsageError(f"{name} {_shown(value)}: it takes true or false")
    _check_model(service, given)
    return _validated(service, given)


def _check_model(service: Service, given: Mapping[str, Any]) -> None:
    """Only names of the catalogue: no place here, no repository, no address."""
    if "model" not in given:
        return
    fields = service.params.model_fields
    engine = given.get("engine", fields["engine"].default) if "engine" in fields else ""
    fitting = [entry for entry in _entries(service) if engine in ("", entry.engine)]
    names = [name for entry in fitting for name in (_short(entry), entry.name)]
    if names and given["model"] not in names:
        near = get_close_matches(str(given["model"])[:SHOWN_CHARS], names, 3, 0.4) or names
        said = (
            f"there is no model {_shown(given['model'])} for {service.name}; near it: {', '.join(dict.fromkeys(near))}"
        )
        raise UsageError(said, "/v1/models")


def _validated(service: Service, given: Mapping[str, Any]) -> Params:
    values = {name: _typed(name, value) for name, value in given.items() if name not in PLACED or value}
    try:
        return service.params.model_validate_json(json.dumps(values, allow_nan=False), strict=True)
    except ValidationError as error:
        name, wanted = mistake(service.params, error)
        said = f"{name} {_shown(given[name])}: {wanted}" if name else "the parameters are no text that can be read"
        raise UsageError(as_fields(said, service)) from error
    except ValueError as error:
        raise UsageError("a parameter is no number: JSON has no infinity, and no NaN") from error
    except UsageError as error:
        raise UsageError(as_fields(str(error), service), as_fields(error.hint, service)) from error


def _typed(name: str, value: Any) -> Any:
    """A value as the class takes it: a file that is to be made as a folder for it."""
    return f".{os.sep}" if name in PLACED else value


def _shown(value: Any) -> str:
    said = plain(repr(value))
    return said if len(said) <= SHOWN_CHARS else f"{said[:SHOWN_CHARS]}..."


def as_fields(text: str, service: Service) -> str:
    """A sentence of the command line, with options named as fields are here. Commands in it stay what they are."""
    if text.startswith("offload "):
        return text
    for option, field in SAID.items():
        text = text.replace(option, field)
    known = {*service.params.model_fields, *Wish.model_fields}
    return FLAG.sub(lambda found: _name(found, known), text)


def _name(found: re.Match[str], known: Iterable[str]) -> str:
    name = found[1].replace("-", "_")
    return name if name in known else found[0]


def placed(params: Params, out: Path) -> Params:
    """The parameters with the folder that files go to which are made on request."""
    return params.model_copy(update={name: out for name in PLACED if getattr(params, name, None) is not None})
