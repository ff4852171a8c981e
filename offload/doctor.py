"""`offload doctor`: is everything here that the services need? Each line is ok, or what to type."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

import services
from broker import followers, scripts, settings
from broker.broker import Broker
from broker.errors import MissingHere, OffloadError
from executors.base import ExecutorError
from server import notices
from server.schemas import Notice
from services.base.text import plain

DISK_BYTES = 2 * 10**9
FFMPEG_SECONDS = 30.0
FFMPEG_NEEDS = {"-filters": ("vidstabdetect", "vidstabtransform"), "-encoders": ("libx264",)}


@dataclass(frozen=True)
class Check:
    """One line: what was looked at, whether it is well, and what to do where it is not."""

    name: str
    ok: bool
    said: str

    @property
    def mark(self) -> str:
        """What the line begins with."""
        return "ok  " if self.ok else "FAIL"


@dataclass(frozen=True)
class Reminder(Check):
    """A line on something to be seen to, though nothing is wrong with what the services need."""

    @property
    def mark(self) -> str:
        """What the line begins with."""
        return "note"


@click.command(help="Check that everything the services need is here.")
@click.option("--offline", is_flag=True, help="let each service do a little work without a network, and say which can")
def doctor(offline: bool) -> None:
    """Print a line per check; exit code 4 when one is not well."""
    if offline:
        sys.exit(_offline())
    checks = []
    for check in _checks():
        checks.append(check)
        print(f"{check.mark}  {check.name}: {plain(check.said)}", flush=True)
    sys.exit(0 if all(check.ok for check in checks) else MissingHere.exit_code)


def _offline() -> int:
    from offload.readiness import exit_code, readiness

    found = []
    with Broker(settings.load().model_copy(update={"offline": True})) as broker:
        for one in readiness(broker):
            found.append(one)
            print("\t".join(map(plain, (one.service, one.model, one.state, one.said))).rstrip(), flush=True)
    return exit_code(found)


def _checks() -> Iterator[Check]:
    config = settings.load()
    yield Check("Python", sys.version_info >= (3, 11), f"{platform.python_version()} at {sys.executable}")
    yield from (_disk(name, folder) for name, folder in (("cache", config.cache_dir), ("state", config.state_dir)))
    with Broker(config) as broker:
        followers.revive(broker)
        yield Check("journal", True, str(config.journal))
        yield from (_to_delete("journal", notice) for notice in notices.journals(broker))
        yield from (_to_delete("results", notice) for notice in notices.results(broker))
        yield from (_service(broker, name) for name in services.names())
        yield from _interrupted(broker)
        yield from (Reminder("orphans", True, line) for line in broker.notices)
        yield from _leftovers(broker)
    yield from _ffmpeg()


def _disk(name: str, folder: Path) -> Check:
    home = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(home).free
    said = f"{free / 1e9:.1f} GB free in {folder}"
    return Check(f"{name} folder", free > DISK_BYTES, said if free > DISK_BYTES else f"{said}: make room there")


def _service(broker: Broker, name: str) -> Check:
    script = scripts.folder() / services.find(name).script
    try:
        broker.check_here(script)
    except (OffloadError, ExecutorError) as error:
        hint = getattr(error, "hint", "")
        return Check(name, False, f"{error}: {hint}" if hint else str(error))
    return Check(name, True, "its packages are here, in the versions it asks for")


def _to_delete(name: str, notice: Notice) -> Check:
    return Reminder(name, True, f"{notice.said}; what you need no more: `{notice.command}`")


def _interrupted(broker: Broker) -> Iterator[Check]:
    for job in broker.journal.jobs(1000):
        if not job.state.over and not broker.attended(job.id):
            ways = f"`offload jobs show {job.id}` says how to go on, `offload jobs rm {job.id}` drops it"
            yield Reminder(f"job {job.id}", True, f"was interrupted: {ways}")


def _leftovers(broker: Broker) -> Iterator[Check]:
    for name, target in broker.targets.items():
        if not broker.journal.health.probe(target).reachable:
            continue
        try:
            found = len(broker.contact.leftovers(target))
        except (OffloadError, ExecutorError) as error:
            yield Reminder(f"target {name}", True, f"cannot be looked into: {error}; `offload targets test {name}`")
            continue
        if found:
            said = f"{found} of our jobs there {'is' if found == 1 else 'are'} in no journal"
            yield Reminder(f"target {name}", True, f"{said}: `offload targets clean {name}` deletes them")


def _ffmpeg() -> Iterator[Check]:
    try:
        import imageio_ffmpeg

        binary = imageio_ffmpeg.get_ffmpeg_exe()
        version = _version(binary)
    except (ImportError, RuntimeError) as error:
        yield Check("ffmpeg", False, f"{error}: {_cure()}")
        return
    yield Check("ffmpeg", True, f"{version} at {binary}")
    for listing, names in FFMPEG_NEEDS.items():
        found = _ask(binary, listing)
        for name in names:
            ok = f" {name} " in found
            yield Check(f"ffmpeg {name}", ok, "here" if ok else f"not in {binary}: {_cure()}")


def _version(binary: str) -> str:
    """The version of an ffmpeg. Raises RuntimeError when `binary` is none that works."""
    words = _ask(binary, "-version").split()
    if words[:2] != ["ffmpeg", "version"]:
        raise RuntimeError(f"{binary} is not an ffmpeg that works")
    return words[2]


def _ask(binary: str, listing: str) -> str:
    try:
        done = subprocess.run(
            [binary, "-hide_banner", listing],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FFMPEG_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


def _cure() -> str:
    if os.environ.get("IMAGEIO_FFMPEG_EXE"):
        return "unset IMAGEIO_FFMPEG_EXE to use the one that comes with the program"
    return "pip install 'offload-broker[stabilize]'"
