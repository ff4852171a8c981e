"""The interpreter a script gets: one that has what its header asks for, found here or built, once for all jobs.

envs/<hash>/venv/           the environment
envs/<hash>/taken/          what it has from the interpreter it was built on
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
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Union

from _runner import build, interpreters, layout, machine, processes, requirements, state, taking
from _runner.interpreters import TORCH, Interpreter
from _runner.layout import RunnerError
from _runner.taking import Taken

TICK = 0.1


class Place(NamedTuple):
    """Where an environment lies, and what it is to have from the interpreter it is built on."""

    folder: Path
    taken: Optional[Taken] = None

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
    known = _search(root, environment)
    found = _complete(known, environment) if isinstance(known, Place) else known
    if found:
        return {"python": found.path, "ready": True}
    return {"python": build.base(environment, known.taken), "ready": False}


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
    known = _search(root, environment)
    if isinstance(known, Interpreter):
        _tell(job, known, {"taken": known.packages})
        yield known.path
        return
    with _locked(known) as lock:
        ready = _made(job, known, lock, environment)
        os.utime(str(known.mark))  # used: young again to gc
        _tell(job, ready, layout.read_json(known.mark) or {})
        yield ready.path


def _search(root: Path, environment: Dict[str, Any]) -> Union[Interpreter, Place]:
    """Find an interpreter that has it all, or else the place of the environment, which may be there or not."""
    names = _names(environment)
    here = interpreters.here(names)
    if not requirements.lacking(environment, here):
        return here
    place = _place(root, environment)
    if place.mark.exists():  # then there was none, and to ask them all takes long
        return place
    return next((other for other in interpreters.others(names) if not requirements.lacking(environment, other)), place)


def _place(root: Path, environment: Dict[str, Any]) -> Place:
    import hashlib
    import json
    import platform

    # The platform too: two machines may share a home. And what is taken: they may have another torch.
    taken = taking.find(environment)
    system = [platform.system(), platform.machine()]
    asked = [sorted(environment["dependencies"]), environment["requires_python"], *system]
    asked += [taken.identity] if taken else []
    return Place(root / "envs" / hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:24], taken)


def _names(environment: Dict[str, Any]) -> List[str]:
    return [*requirements.names(environment), TORCH]  # asked for or not, a receipt tells of it


def _complete(place: Place, environment: Dict[str, Any]) -> Optional[Interpreter]:
    return _fit(place, environment) if place.mark.exists() else None


def _fit(place: Place, environment: Dict[str, Any]) -> Optional[Interpreter]:
    # Asked every time: the Python it was built on may have gone since.
    found = interpreters.at(place.python, _names(environment))
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
    try:
        taken = _installed(job, place, lock, environment)
        about = {"taken": taken, "environment": environment}
        os.sync()  # the mark must not outlive a power cut that its environment does not
        layout.write_json(place.mark, {"seconds": round(time.monotonic() - started, 1), **about})
    except BaseException:
        processes.end(job.name, grace=0)
        _remove(place)
        raise


def _installed(job: Path, place: Place, lock: int, environment: Dict[str, Any]) -> Dict[str, str]:
    """Build it, with what is taken if that goes with the rest; returns the versions of what was."""
    if place.taken:
        try:
            _install(job, place, lock, environment)
            return taking.kept(place.taken, place.folder / "venv")
        except RunnerError as error:
            if error.kind != "missing":
                raise
            build.say(job, "that does not go with the rest: %s" % error)
    _install(job, place._replace(taken=None), lock, environment)
    return {}


def _install(job: Path, place: Place, lock: int, environment: Dict[str, Any]) -> None:
    _remove(place)
    place.folder.mkdir(mode=0o700)
    build.build(place.folder, job, lock, environment, place.taken)
    if not _fit(place, environment):
        kind = "missing" if place.taken else "failed"
        raise RunnerError(kind, "the environment that was installed is not what was asked for")


def _remove(place: Place) -> None:
    place.mark.unlink(missing_ok=True)  # first: what is half removed is not complete
    shutil.rmtree(str(place.folder), ignore_errors=True)


def _tell(job: Path, found: Interpreter, about: Dict[str, Any]) -> None:
    versions = {"python": found.version, "interpreter": found.path, "environment_seconds": about.get("seconds", 0.0)}
    build.report(job, {"type": "versions", "versions": {**versions, **_torch(found, about), **machine.versions()}})


def _torch(found: Interpreter, about: Dict[str, Any]) -> Dict[str, Any]:
    version = found.packages.get(TORCH)
    if not version:
        return {}
    owner = "target" if TORCH in about.get("taken", ()) else "environment"
    cuda = {"torch_cuda": found.torch_cuda} if found.torch_cuda else {}
    return {"torch": version, "torch_from": owner, **cuda}


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
