"""The lock file: what each model was when it was first used, and therefore is. Made to be read, compared and shared."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from broker.errors import ConfigError
from broker.models.choice import plain
from broker.models.pin import File, Pin
from broker.settings import Settings

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
RelativePath = Annotated[str, AfterValidator(plain)]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sha256: Sha256
    size: int | None = None
    url: str = ""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    revision: str
    files: dict[RelativePath, _File]


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid")
    version: Literal[1] = 1
    models: dict[str, _Model] = {}


def file(settings: Settings) -> Path:
    """Where it is."""
    return settings.config_dir / "models.lock"


def pins(settings: Settings) -> dict[str, Pin]:
    """All pins, by source. Raises ConfigError for a file that is not as we write it: it is never overwritten."""
    return {source: _pin(source, model) for source, model in _read(settings).models.items()}


def find(settings: Settings, source: str) -> Pin | None:
    """The pin of a source, if it has one. Raises ConfigError as `pins` does."""
    return pins(settings).get(source)


def add(settings: Settings, pin: Pin) -> Pin:
    """Write a pin down; returns the one that counts, which is another process's if that was first."""
    with _change(settings) as content:
        model = content.models.setdefault(pin.source, _written(pin))
    return _pin(pin.source, model)


def drop(settings: Settings, source: str) -> None:
    """Forget what a source was: its next use pins it anew."""
    with _change(settings) as content:
        content.models.pop(source, None)


def _pin(source: str, model: _Model) -> Pin:
    files = tuple(File(path, **dict(one)) for path, one in sorted(model.files.items()))
    return Pin(source, model.name, model.revision, files)


def _written(pin: Pin) -> _Model:
    files = {one.path: _File(sha256=one.sha256, size=one.size, url=one.url) for one in pin.files}
    return _Model(name=pin.name, revision=pin.revision, files=files)


def _read(settings: Settings) -> _Content:
    path = file(settings)
    try:
        return _Content.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return _Content()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(word) for word in first["loc"])
        raise _refused(path, f"{where}: {first['msg']}" if where else first["msg"]) from error
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from error


def _refused(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} cannot be used: {why}", f"put it right, or move it away: mv {path} {path}.damaged")


@contextmanager
def _change(settings: Settings) -> Iterator[_Content]:
    """The content, to be changed; nobody else changes it meanwhile. It is replaced whole, and only if it changed."""
    path = file(settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.with_name(".models.lock.guard").open("w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            content = _read(settings)
            before = content.model_copy(deep=True)
            yield content
            if content != before:
                _replace(path, content)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}", f"ls -ld {path.parent}") from error


def _replace(path: Path, content: _Content) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with draft.open("w", encoding="utf-8") as text:
            json.dump(content.model_dump(exclude_defaults=True) | {"version": 1}, text, indent=1, sort_keys=True)
            text.write("\n")
            text.flush()
            os.fsync(text.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
