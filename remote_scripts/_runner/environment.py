"""The interpreter a script gets: one that has what its header asks for, found here or built, once for all jobs.

envs/<hash>/venv/           the environment
envs/<hash>/complete.json   its mark, written last; its age is that of the last use
envs/<hash>.lock            held alone by a build, shared by jobs that use it; names the job that builds
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, NamedTuple, Optional

from _runner import build, interpreters, layout, processes, requirements, state
from _runner.interpreters import Interpreter
from _runner.layout import RunnerError

TICK = 0.1


class Place(NamedTuple):
    """Where an environment lies."""

    folder: Path

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "venv" / "bin" / "python")

    @property
    def mark(self) -> Path:
        """Its mark."""
        return self.folder / "complete.json"

    @property
    def lock(self) -> Path:
        """Its lock. Never deleted: somebody may be waiting on it."""
        return self.folder.with_name(self.folder.name + ".lock")


def prepare(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Name the interpreter a script with these needs would get, or the one to build it on; fail as `provided` does."""
    environment = request["environment"]
    if not environment.get("build"):
        return {"python": own(environment), "ready": True}
    place = _place(root, environment)
    found = _found(place, environment) or _complete(place, environment)
    if found:
        return {"python": found.path, "ready": True}
    return {"python": build.base(environment), "ready": False}


def own(environment: Dict[str, Any]) -> str:
    """Return the runner's own interpreter, if it has what `environment` asks: {requires_python, dependencies, install}.

    Raises:
        RunnerError: kind `missing`, with the command that installs what is not there.
    """
    found = interpreters.here(requirements.names(environment))
    lacking = requirements.lacking(environment, found)
    if lacking:
        raise RunnerError("missing", "%s; install with: %s" % (", ".join(lacking), environment["install"]))
    return found.path


@contextmanager
def provided(root: Path, job: Path, environment: Dict[str, Any]) -> Iterator[str]:
    """Give the interpreter for the job in `job`. One that has to be built is, where `environment` says `build`.

    Raises:
        RunnerError: as `build.build` does.
    """
    if not environment.get("build"):
        yield own(environment)
        return
    place = _place(root, environment)
    found = _found(place, environment)
    if found:
        _tell(job, found, 0.0)
        yield found.path
        return
    with _locked(place) as lock:
        ready = _made(job, place, lock, environment)
        os.utime(str(place.mark))  # used: young again to gc
        _tell(job, ready, (layout.read_json(place.mark) or {}).get("seconds", 0.0))
        yield ready.path


def _place(root: Path, environment: Dict[str, Any]) -> Place:
    import hashlib
    import json
    import platform

    # The platform too: two machines may share a home.
    system = [platform.system(), platform.machine()]
    asked = [sorted(environment["dependencies"]), environment["requires_python"], *system]
    return Place(root / "envs" / hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:24])


def _found(place: Place, environment: Dict[str, Any]) -> Optional[Interpreter]:
    names = requirements.names(environment)
    here = interpreters.here(names)
    if not requirements.lacking(environment, here):
        return here
    if place.mark.exists():  # then there was none, and to ask them all takes long
        return None
    return next((other for other in interpreters.others(names) if not requirements.lacking(environment, other)), None)


def _complete(place: Place, environment: Dict[str, Any]) -> Optional[Interpreter]:
    return _fit(place, environment) if place.mark.exists() else None


def _fit(place: Place, environment: Dict[str, Any]) -> Optional[Interpreter]:
    # Asked every time: the Python it was built on may have gone since.
    found = interpreters.at(place.python, requirements.names(environment))
    return None if found is None or requirements.lacking(environment, found) else found


@contextmanager
def _locked(place: Place) -> Iterator[int]:
    place.lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(str(place.lock), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield lock
    finally:
        os.close(lock)


def _made(job: Path, place: Place, lock: int, environment: Dict[str, Any]) -> Interpreter:
    """Return the environment, built by us or by somebody else. The lock is then ours, shared."""
    told = False
    while True:
        if _try_lock(lock, fcntl.LOCK_SH):
            ready = _complete(place, environment)
            if ready:
                return ready
            fcntl.flock(lock, fcntl.LOCK_UN)
        if _try_lock(lock, fcntl.LOCK_EX):
            if not _complete(place, environment):
                _build(job, place, lock, environment)
        else:
            told = told or build.say(job, "another job is installing the environment; waiting for it")
            _bury(job.parent, lock)
            build.check_wanted(job)
            time.sleep(TICK)


def _try_lock(lock: int, mode: int) -> bool:
    try:
        fcntl.flock(lock, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _bury(jobs: Path, lock: int) -> None:
    # A supervisor that was killed leaves its installer behind, which holds the lock and builds for nobody.
    builder = os.pread(lock, 100, 0).decode()
    if builder and state.of(jobs / builder) == "lost":
        processes.end(builder, grace=0)


def _build(job: Path, place: Place, lock: int, environment: Dict[str, Any]) -> None:
    started = time.monotonic()
    os.ftruncate(lock, 0)
    os.pwrite(lock, job.name.encode(), 0)
    _remove(place)
    place.folder.mkdir(mode=0o700)
    try:
        build.build(place.folder, job, lock, environment)
        if not _fit(place, environment):
            raise RunnerError("failed", "the environment that was installed is not what was asked for")
        os.sync()  # the mark must not outlive a power cut that its environment does not
        layout.write_json(place.mark, {"seconds": round(time.monotonic() - started, 1), "environment": environment})
    except BaseException:
        processes.end(job.name, grace=0)
        _remove(place)
        raise


def _remove(place: Place) -> None:
    place.mark.unlink(missing_ok=True)  # first: what is half removed is not complete
    shutil.rmtree(str(place.folder), ignore_errors=True)


def _tell(job: Path, found: Interpreter, seconds: float) -> None:
    versions = {"python": found.version, "interpreter": found.path, "environment_seconds": seconds}
    build.report(job, {"type": "versions", "versions": versions})


def sweep(root: Path, cutoff: float) -> Iterator[str]:
    """Delete environments that no job uses or has used since `cutoff`; yields their names."""
    folders = [entry for entry in (root / "envs").iterdir() if entry.is_dir()] if (root / "envs").is_dir() else []
    for place in map(Place, folders):
        with _locked(place) as lock:
            if _try_lock(lock, fcntl.LOCK_EX) and _last_use(place) < cutoff:
                _remove(place)
                yield place.folder.name


def _last_use(place: Place) -> float:
    used = place.mark if place.mark.exists() else place.folder
    return used.stat().st_mtime
