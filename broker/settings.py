"""Settings: environment (`OFFLOAD_*`) over `config.toml` over defaults. The only reader of the environment."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import platformdirs
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from broker.errors import ConfigError
from broker.rules import Rule, rule_mistake
from executors.options import at_home

APP = "offload"


Absolute = Annotated[Path, AfterValidator(Path.absolute)]
"""A folder that stays the same for processes that start elsewhere."""


SIZES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def read_size(size: str | int) -> int:
    """So many bytes as people write them: `20G`, `500M`, `1.5T`, or a plain number. Raises ValueError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", str(size).strip(), re.IGNORECASE)
    if not found:
        raise ValueError(f"{size!r} is no size: write 20G, 500M or a number of bytes")
    return int(float(found[1]) * SIZES[found[2].upper()])


Bytes = Annotated[int, BeforeValidator(read_size)]


class Settings(BaseModel):
    """Everything a user may set apart from a job's own parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config_dir: Absolute
    state_dir: Absolute
    cache_dir: Absolute
    cgpu_config_dir: Absolute
    max_pixels: Annotated[int, Field(gt=0, description="pixels of a frame")] = 40_000_000
    max_seconds: Annotated[float, Field(gt=0, description="length of an input")] = 4 * 3600.0
    cancel_grace: Annotated[float, Field(ge=0, description="seconds a cancelled script may tidy up")] = 2.0
    grace_seconds: Annotated[float, Field(ge=0, description="seconds a silent target is waited for")] = 90.0
    lease_seconds: Annotated[float, Field(gt=0, description="seconds after which a silent driver is replaced")] = 30.0
    keep_days: Annotated[float, Field(ge=0, description="days that a target keeps what nobody asked for")] = 7.0
    keep_bytes: Annotated[Bytes, Field(ge=0, description="bytes of inputs a target keeps")] = 20 * 10**9
    checkpoint_bytes: Annotated[Bytes, Field(ge=0, description="bytes of checkpoints kept of a job")] = 20 * 10**9
    result_bytes: Annotated[Bytes, Field(ge=0, description="bytes of results kept to be had again; 0 keeps none")] = (
        20 * 10**9
    )
    worth: Annotated[
        float, Field(ge=0, le=100, description="times faster another machine must be; 0: the file's order decides")
    ] = 1.2
    rules: tuple[Rule, ...] = ()
    local_jobs: Annotated[int, Field(gt=0, description="jobs that run here at the same time")] = 1
    serve_paths: Annotated[bool, Field(description="the server's clients may name files on this machine")] = False
    serve_bytes: Annotated[Bytes, Field(gt=0, description="bytes of an upload to the server")] = 50 * 10**9
    offline: Annotated[bool, Field(description="ask nobody: what is not here is missing")] = False

    @property
    def journal(self) -> Path:
        """The SQLite file that remembers jobs."""
        return self.state_dir / "journal.sqlite3"

    @property
    def limits(self) -> dict[str, float]:
        """What a script is told of these limits."""
        return {"pixels": self.max_pixels, "seconds": self.max_seconds}


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises ConfigError naming the file or variable that is wrong."""
    given = {name: environ[f"OFFLOAD_{name.upper()}"] for name in Settings.model_fields if _set(environ, name)}
    values: dict[str, Any] = {
        "config_dir": platformdirs.user_config_path(APP),
        "state_dir": platformdirs.user_state_path(APP),
        "cache_dir": platformdirs.user_cache_path(APP),
        "cgpu_config_dir": environ.get("CGPU_CONFIG_DIR") or platformdirs.user_config_path("cgpu"),
    }
    file = Path(given.get("config_dir", values["config_dir"])) / "config.toml"
    values |= _read(file) | given
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"][0] == "rules":
            raise ConfigError(rule_mistake(first, file), f"edit {file}") from error
        name = ".".join(str(word) for word in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{name}: {said}", f"set OFFLOAD_{name.upper()}, or edit {file}") from error


@dataclass(frozen=True)
class Usual:
    """Where other programs look for models: the hub they ask, and their caches, by the variables they read."""

    hub: str
    hub_caches: tuple[Path, ...]
    file_caches: tuple[Path, ...]


def usual(environ: Mapping[str, str] = os.environ) -> Usual:
    """Read the variables of huggingface_hub, openai-whisper and torch, as they do."""
    caches = _places(environ.get("XDG_CACHE_HOME"), "~/.cache")
    homes = _places(environ.get("HF_HOME"), *(cache / "huggingface" for cache in caches))
    torch = _places(environ.get("TORCH_HOME"), *(cache / "torch" for cache in caches))
    named = (environ.get("HF_HUB_CACHE"), environ.get("HUGGINGFACE_HUB_CACHE"))
    return Usual(
        hub=(environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/"),
        hub_caches=_places(*named, *(home / "hub" for home in homes)),
        file_caches=_places(*(cache / "whisper" for cache in caches), *(home / "hub/checkpoints" for home in torch)),
    )


def own_ffmpeg(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether scripts run the user's own ffmpeg here, in place of the pinned one."""
    return bool(environ.get("IMAGEIO_FFMPEG_EXE"))


def _places(*named: str | Path | None) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(at_home(name) for name in named if name))


def _set(environ: Mapping[str, str], name: str) -> bool:
    return bool(environ.get(f"OFFLOAD_{name.upper()}"))


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: {error}", f"edit or remove {file}") from error
