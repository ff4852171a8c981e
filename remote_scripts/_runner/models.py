"""The models of a job: complete, checked and in its directory before its script starts, which downloads nothing.

A file is looked for in our store, among the blobs that were sent, where it lies on this machine already, and where the
user's own tools keep such files; only then is it fetched. Its sha256 is checked at every start, wherever it was found.
"""

from __future__ import annotations

import os
import shlex
import shutil
import time
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Set

from _runner import build, fetching, layout, sources, store
from _runner.layout import RunnerError
from _runner.store import Part

TICK = 0.1
TELL = 3.0
"""Seconds between two words on how much has come."""

Model = Dict[str, Any]
File = Dict[str, Any]


def provide(root: Path, job: Path, wanted: Dict[str, Any]) -> None:
    """Put the models of the job in `job` where its script looks for them; what is not here is fetched.

    `wanted` is {models: [{role, name, source, revision, files: [{path, sha256, size, url}], paths}], offline}; `paths`
    says where a user's own files lie on this machine.

    Raises:
        RunnerError: kind `no_model`, after an event `lacks` that tells which files would do; `no_space`; `changed`
            when a user's own file is not what it was; `failed` when the job was cancelled.
    """
    started, supply = time.monotonic(), _Supply(root, job, bool(wanted.get("offline")))
    lacks = [lack for lack in map(supply.bring, wanted["models"]) if lack]
    if lacks:
        build.report(job, {"type": "lacks", "models": [lack.told for lack in lacks]})
        raise RunnerError("no_model", _sentence(lacks))
    build.report(job, {"type": "versions", "versions": {"models_seconds": round(time.monotonic() - started, 1)}})


class _Lack(NamedTuple):
    """A model that cannot be had: the files of it that are missing, why, and whether there is another in its place."""

    model: Model
    files: List[File]
    why: str
    different: bool

    @property
    def told(self) -> Dict[str, Any]:
        """What the follower hears."""
        return {"name": self.model["name"], "files": [file["sha256"] for file in self.files], "why": self.why}


def _sentence(lacks: List[_Lack]) -> str:
    each = ["%s (%s) is not here: %s" % (lack.model["name"], _size(lack.model["files"]), lack.why) for lack in lacks]
    return "%s; install with: %s" % ("; ".join(each), _remedy(lacks))


def _remedy(lacks: List[_Lack]) -> str:
    names = " ".join(shlex.quote(lack.model["name"]) for lack in lacks)
    for lack in lacks:
        if lack.different:  # fetching it again would bring the same
            return "offload models rm %s --unpin" % shlex.quote(lack.model["name"])
    return "offload models prefetch %s" % names


def _size(files: Iterable[File]) -> str:
    sizes: List[Any] = [file.get("size") for file in files]
    return "size unknown" if None in sizes else _words(sum(sizes))


def _words(size: float) -> str:
    return ("%.0f MB" if size >= 10e6 else "%.1f MB") % (size / 1e6)


class _Unobtainable(Exception):
    """A file cannot be fetched; says why, and whether that is because another is there in its place."""

    def __init__(self, why: str, different: bool = False) -> None:
        super().__init__(why)
        self.different = different


class _Supply:
    """Brings models to one job."""

    def __init__(self, root: Path, job: Path, offline: bool) -> None:
        self._root = root
        self._job = job
        self._offline = offline
        self._damaged: List[str] = []
        self._away: Dict[str, str] = {}
        """Servers that cannot be reached, and why: asked once is enough."""

    def bring(self, model: Model) -> Optional[_Lack]:
        """Put a model into the job. Returns what is missing of it; None when nothing is."""
        self._damaged = []
        found = {file["path"]: self._here(model, file) for file in model["files"]}
        missing = [file for file in model["files"] if not found[file["path"]]]
        try:
            found.update(self._fetched(model, missing))
        except _Unobtainable as error:
            left = [file for file in missing if not self._content(file).exists()]
            return _Lack(model, left, "; ".join([*self._damaged, str(error)]), error.different)
        for path, place in found.items():
            self._link(place, layout.model_path(self._job, model["role"], path))  # type: ignore[arg-type]
        return None

    def _here(self, model: Model, file: File) -> Optional[Path]:
        return self._kept(file) or self._own(model, file) or self._lying(model, file)

    def _content(self, file: File) -> Path:
        return layout.content_path(self._root, file["sha256"])

    def _kept(self, file: File) -> Optional[Path]:
        for path in (self._content(file), layout.blob_path(self._root, file["sha256"])):
            if path.exists():
                trouble = _trouble(path, file)
                if not trouble:
                    return path if path == self._content(file) else store.adopt(self._root, path)
                self._discard(path, file, trouble)
        return None

    def _discard(self, path: Path, file: File, trouble: str) -> None:
        path.unlink(missing_ok=True)
        self._damaged.append("%s was damaged (%s) and is removed" % (path, trouble))
        self._say("%s: %s" % (file["path"], self._damaged[-1]))

    def _own(self, model: Model, file: File) -> Optional[Path]:
        path = (model.get("paths") or {}).get(file["path"])
        if path and _trouble(Path(path), file):
            raise RunnerError("changed", "the model's file %s is not what it was when the job was asked for" % path)
        return Path(path) if path else None

    def _lying(self, model: Model, file: File) -> Optional[Path]:
        known: Set[Path] = set()
        for path in sources.lying(model, file):
            if os.access(str(path), os.R_OK) and path.resolve() not in known:
                known.add(path.resolve())
                trouble = _trouble(path, file)
                if not trouble:
                    return path
                self._say("%s is not used, and left as it is: %s" % (path, trouble))
        return None

    def _fetched(self, model: Model, missing: List[File]) -> Dict[str, Path]:
        if missing and self._offline:
            raise _Unobtainable("nothing may be fetched offline")
        self._check_room(model, missing)
        meter = _Meter(self._job, model["name"], missing)
        return {file["path"]: self._fetch(model, file, meter) for file in missing}

    def _check_room(self, model: Model, missing: List[File]) -> None:
        needed = sum(max(0, (file.get("size") or 0) - store.arrived(self._root, file["sha256"])) for file in missing)
        free = shutil.disk_usage(str(self._root)).free - layout.RESERVE_BYTES
        if needed > max(free, 0):
            words = (model["name"], _words(needed), _words(max(free, 0)))
            raise RunnerError("no_space", "%s needs %s more, and %s are free where the job runs" % words)

    def _fetch(self, model: Model, file: File, meter: "_Meter") -> Path:
        with self._claimed(model, file) as part:
            found = self._kept(file)  # another job may have brought it the moment before
            if not found:
                self._receive(model, file, part, meter)
        return found or self._content(file)

    def _claimed(self, model: Model, file: File) -> Part:
        told = False
        while True:
            part = store.claim(self._root, file["sha256"])
            if part:
                return part
            told = told or build.say(self._job, "another job is fetching %s; waiting for it" % model["name"])
            self._check_wanted()
            time.sleep(TICK)

    def _receive(self, model: Model, file: File, part: Part, meter: "_Meter") -> None:
        url = sources.url(model, file)
        server = sources.host(url)
        if not url:
            raise _Unobtainable("its files are not on this machine")
        if server in self._away:
            raise _Unobtainable(self._away[server])
        try:
            self._try(url, model, file, part, meter)
        except fetching.Refused as error:
            raise _Unobtainable(sources.why(model, file, error)) from None
        except fetching.Unreachable as error:
            self._away[server] = "%s cannot be reached: %s" % (server, error)
            raise _Unobtainable(self._away[server]) from None
        except fetching.Failed as error:
            why = "%s cannot be fetched from %s: %s" % (file["path"], server, error)
            raise _Unobtainable(why, isinstance(error, fetching.Different)) from None

    def _try(self, url: str, model: Model, file: File, part: Part, meter: "_Meter") -> None:
        while True:
            resumed = part.size
            meter.begin(sources.host(url))
            for _ in fetching.fetch(url, sources.token(model), part, file.get("size")):
                self._check_wanted()
                meter.tell(part.size)
            if part.sha256 == file["sha256"]:
                part.finish()
                meter.end(part.size)
                return
            found = part.sha256
            part.clear()
            if not resumed:  # else what was there before may be to blame
                raise fetching.Different("its sha256 is %.12s..., not %.12s... as pinned" % (found, file["sha256"]))

    def _link(self, path: Path, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.parent == self._root / "models":
            store.link(path, place)
        else:  # another's: never copied, never changed
            place.symlink_to(path)

    def _check_wanted(self) -> None:
        if not (self._job / "wanted").exists():
            raise RunnerError("failed", "cancelled while its models were being fetched")

    def _say(self, message: str) -> None:
        build.say(self._job, message)


def _trouble(path: Path, file: File) -> str:
    """What is wrong with a file that should have this content; empty when nothing is."""
    size = file.get("size")
    try:
        if size is not None and path.stat().st_size != size:
            return "it has %d bytes, not %d" % (path.stat().st_size, size)
        found = store.sha256_of(path)
    except OSError as error:
        return "it cannot be read: %s" % error.strerror
    return "" if found == file["sha256"] else "its sha256 is %.12s..., not %.12s..." % (found, file["sha256"])


class _Meter:
    """Tells the job's follower how much of a model has come."""

    def __init__(self, job: Path, name: str, files: List[File]) -> None:
        self._job = job
        self._name = name
        self._total = _size(files)
        self._complete = 0
        self._last = (0.0, 0)
        self._begun = False

    def begin(self, server: str) -> None:
        """Fetching starts."""
        self._last = (time.monotonic(), self._last[1])
        if not self._begun:
            self._begun = build.say(self._job, "fetching %s: %s from %s" % (self._name, self._total, server))

    def tell(self, size: int) -> None:
        """As many bytes are there of the file that is being fetched."""
        now, sum_ = time.monotonic(), self._complete + size
        before, had = self._last
        if now - before >= TELL:
            speed = _words(max(0, sum_ - had) / (now - before))
            build.say(self._job, "fetching %s: %s of %s, %s/s" % (self._name, _words(sum_), self._total, speed))
            self._last = (now, sum_)

    def end(self, size: int) -> None:
        """The file is there."""
        self._complete += size
