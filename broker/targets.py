"""Targets: the places a job can run, as `targets.toml` names them, and this machine, always there.

[my-box]
url = "local:///mnt/scratch"
share = "no"
jobs = 2
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from broker.errors import ConfigError, UsageError
from broker.settings import Settings
from executors import executor_class
from executors.base import Executor, ExecutorError
from executors.rented import Holding, Rented
from executors.unasked import OFFLINE, Unasked

LOCAL = "local"
CACHE = "cache"
"""What stands for a target in a receipt where a result was made before."""
RESERVED = ("auto", "remote", LOCAL, CACHE)
NAME = re.compile(r"\w[\w-]*")


@dataclass(frozen=True)
class Target:
    """A named, configured place a job can run, and how many at the same time."""

    name: str
    kind: str
    options: Mapping[str, str]
    jobs: int = 1

    def executor(self) -> Executor:
        """Make the executor that drives it; nothing is connected yet. Raises ConfigError."""
        if self.kind == OFFLINE:
            return Unasked(self.name, self.options)
        try:
            return executor_class(self.kind)(self.name, self.options)
        except LookupError as error:
            raise ConfigError(f"target {self.name}: {error.args[0]}", f"offload targets rm {self.name}") from error

    def rented(self) -> Rented | None:
        """The executor that drives it, if its machine is rented. None, too, for a kind that nobody knows any more."""
        try:
            executor = self.executor()
        except ConfigError:  # its use tells; what is about other targets, or removes this one, need not fail
            return None
        return executor if isinstance(executor, Rented) else None

    def holding(self) -> Holding | None:
        """The machine that is held there, if it is rented. None, too, where that cannot be told: its use tells why."""
        rented = self.rented()
        with suppress(ExecutorError):
            return rented.held() if rented else None
        return None


def load(settings: Settings) -> dict[str, Target]:
    """Read the targets in the file's order; this machine comes last. Raises ConfigError."""
    file = settings.config_dir / "targets.toml"
    fixed = _fixed(settings)
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
        read = {name: _target(name, table, fixed) for name, table in tables.items()}
        found = {name: unasked(target) for name, target in read.items()} if settings.offline else read
    except FileNotFoundError:
        found = {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValueError, ExecutorError) as error:
        raise ConfigError(f"{file}: {error}", f"edit {file}") from error
    here = Target(LOCAL, "local", {"root": str(settings.cache_dir / "local")}, settings.local_jobs)
    return {**found, LOCAL: here}


def add(settings: Settings, name: str, options: Mapping[str, str | int]) -> Target:
    """Write a target at the end of the file, which otherwise stays as the user wrote it.

    Raises UsageError when it makes no sense or the name is taken, ConfigError when the file cannot be read or written.
    """
    if name in load(settings):
        raise UsageError(f"there is a target {name} already", f"offload targets rm {name}")
    try:
        target = _target(name, dict(options), _fixed(settings))
        executor_class(target.kind)
    except (ValueError, LookupError, ExecutorError) as error:
        raise UsageError(str(error.args[0]), "offload targets add --help") from error
    _edit(settings, lambda document: document.update({name: dict(options)}))
    return target


def remove(settings: Settings, name: str) -> None:
    """Delete a target from the file. Raises UsageError when it is not there, ConfigError as `add` does."""
    if name not in load(settings) or name == LOCAL:
        raise UsageError(f"there is no target {name} to remove", "offload targets ls")
    _edit(settings, lambda document: document.pop(name))


def _edit(settings: Settings, change: Callable[[Any], object]) -> None:
    import tomlkit  # keeps the user's comments; needed for nothing else

    file = settings.config_dir / "targets.toml"
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        document = tomlkit.parse(file.read_text("utf-8") if file.exists() else "")
        change(document)
        settings.config_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft.write_text(tomlkit.dumps(document), "utf-8")
        draft.replace(file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        draft.unlink(missing_ok=True)


def _fixed(settings: Settings) -> dict[str, str]:
    """Where a target's executor finds and keeps files of its own, unless its user says otherwise."""
    return {
        "known_hosts": str(settings.config_dir / "known_hosts"),
        "colab_state": str(settings.state_dir / "colab"),
        "cgpu": str(settings.cgpu_config_dir),
    }


def _target(name: str, table: object, fixed: Mapping[str, str]) -> Target:
    if name in RESERVED or not NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a target's name")
    if not isinstance(table, dict) or not isinstance(table.get("url"), str):
        raise ValueError(f"target {name} needs a url")
    options = {key: _word(value) for key, value in table.items() if key != "jobs"}
    jobs = table.get("jobs", 1)
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"target {name}: jobs = {jobs!r} is no number of jobs")
    url = urlsplit(options["url"])
    if url.scheme == "local":
        if url.netloc or not url.path.startswith("/"):
            raise ValueError(f"target {name}: write its folder in full, as in local:///mnt/scratch")
        options["root"] = unquote(url.path)
    if url.scheme == "ssh":
        from executors.ssh.address import Address

        options.setdefault("known_hosts", fixed["known_hosts"])
        Address.of(name, options)
    kind = url.scheme.partition("+")[0]
    if kind == "jupyter":
        from executors.jupyter import address

        address.Address.of(name, options)
    if kind == "colab":
        from executors.colab import address as colab

        options.setdefault("state", f"{fixed['colab_state']}/{name}")
        options.setdefault("cgpu", fixed["cgpu"])
        colab.Address.of(name, options)
    return Target(name, kind, options, jobs)


def unasked(target: Target) -> Target:
    """The target, as it is while nobody may be asked."""
    return target if target.kind == "local" else replace(target, kind=OFFLINE)


def _word(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def choose(targets: Mapping[str, Target], on: str) -> list[Target]:
    """Targets that `--on` allows, in the order to try them: auto, local, remote, or names with commas.

    Raises:
        UsageError: a name that no target has.
    """
    if on == "auto":
        return list(targets.values())
    if on == "remote":
        return [target for target in targets.values() if target.name != LOCAL]
    found = named(on)
    unknown = [name for name in found if name not in targets]
    if unknown:
        raise UsageError(f"no target named {unknown[0]!r}; there are: {', '.join(targets)}", "offload targets ls")
    return [targets[name] for name in found]


def named(on: str) -> list[str]:
    """The names in `on`, each once, in their order."""
    return list(dict.fromkeys(name.strip() for name in on.split(",")))
