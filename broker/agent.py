"""The only speaker of the runner's verbs: what a target's runner says, as values; what it refuses, as errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from broker import policy
from broker.errors import InputError, IntegrityError, MissingHere, OffloadError
from broker.reports import plain
from broker.scripts import Bundle
from executors.base import Executor, ExecutorError, Lost, NoSpace, NoSuchFile, Span, TransferFailed

VERSION = 1
VERB_SECONDS = 60.0


@dataclass(frozen=True)
class Batch:
    """Events of a job from one long poll. `ending` is the supervisor's last word, once `state` is ended.

    `log` is what the script said, where the job was acknowledged with it: it is gone then.
    """

    events: tuple[Mapping[str, Any], ...]
    next: int
    state: str
    ending: Mapping[str, Any]
    log: str | None = None


class Agent:
    """Speaks with the runner of an entered executor."""

    def __init__(self, executor: Executor, bundle: Bundle) -> None:
        self._executor = executor
        self._bundle = bundle
        self._folder = f"scripts/{bundle.id}"

    def install(self) -> None:
        """Bring the scripts to the target, unless it has this version. The mark comes last."""
        mark = f"{self._folder}/installed"
        try:
            self._executor.get(mark, Span(0, 1))
        except NoSuchFile:
            for name, path in self._bundle.files:
                policy.transfer(partial(self._bring, path, f"{self._folder}/{name}"))
            policy.transfer(partial(self._executor.put, self._bundle.files[0][1], Span(0, 1), mark))

    def _bring(self, source: Path, path: str) -> None:
        # Read back, mostly: there is nobody there yet to check a hash, and a damaged script may still run.
        try:
            content = source.read_bytes()
        except OSError as error:
            raise OffloadError(f"{source} cannot be read: {error.strerror}", "install this program again") from error
        self._executor.put(source, Span(0, len(content)), path)
        if not self._executor.compares and self._executor.get(path, Span(0, len(content))) != content:
            raise TransferFailed(f"{self._executor.name}: {path} arrived damaged")

    def facts(self) -> dict[str, Any]:
        """Describe the machine."""
        return self._call("facts", {})

    def parts(self, sha256s: list[str]) -> dict[str, Any]:
        """For each blob: whether it is there, else the [number, size] of the parts that are."""
        found: dict[str, Any] = self._call("parts", {"sha256": sha256s})["blobs"]
        return found

    def assemble(self, sha256: str, size: int, parts: int) -> None:
        """Join a blob's parts. Raises IntegrityError when they are damaged; they are then gone."""
        # Joining reads and writes the whole file: allow for slow disks, at 10 MB/s.
        self._call("assemble", {"sha256": sha256, "size": size, "parts": parts}, VERB_SECONDS + size / 10e6)

    def prepare(self, environment: Mapping[str, Any]) -> str:
        """Path of the interpreter a script would get. Raises MissingHere when there is none that will do."""
        return str(self._call("prepare", {"environment": environment})["python"])

    def start(self, job: str, script: str, request: Mapping[str, Any]) -> None:
        """Start a job, or find it started. `request` is {spec, inputs, environment}."""
        self._call("start", {"job": job, "script": f"{self._bundle.id}/{script}", **request})

    def events(self, job: str, since: int, wait: float, ack: bool = False) -> Batch:
        """Events from byte `since` of the job's log on, waiting up to `wait` seconds for some.

        With `ack`, a job that has ended may be acknowledged in the same breath: all of it has arrived.
        """
        asked = {"job": job, "since": since, "wait": wait, "ack": ack}
        lines, reply = self._exchange("events", asked, VERB_SECONDS + wait)
        events, log = tuple(event for event in map(_event, lines) if event), reply.get("log")
        ending, said = _object(reply.get("ending")), log if isinstance(log, str) else None
        return Batch(events, int(reply["next"]), str(reply["state"]), ending, said)

    def cancel(self, job: str, grace: float, within: float = VERB_SECONDS) -> None:
        """End the job's process tree, politely for `grace` seconds. Raises Lost when that is not done `within` more."""
        self._call("cancel", {"job": job, "grace": grace}, within + grace)

    def ack(self, job: str) -> None:
        """Tell that the results have arrived: the target deletes the job."""
        self._call("ack", {"job": job})

    def gc(self, days: float, most: int) -> None:
        """Delete what nobody asked for in `days`, and the oldest blobs beyond `most` bytes."""
        self._call("gc", {"days": days, "bytes": most}, VERB_SECONDS * 5)

    def models(self, sha256s: list[str]) -> dict[str, bool]:
        """For each file of a model: whether the target has it, and need not fetch it or be sent it."""
        return {sha256: here is True for sha256, here in self._call("models", {"sha256": sha256s})["here"].items()}

    def forget(self, sha256s: list[str]) -> int:
        """Delete files of models, but for jobs that have them. Returns how many bytes that freed."""
        return int(self._call("forget", {"sha256": sha256s})["bytes"])

    def jobs(self) -> list[dict[str, Any]]:
        """Jobs on the target: {job, state, age}."""
        found: list[dict[str, Any]] = self._call("ls", {})["jobs"]
        return found

    def _call(self, verb: str, request: Mapping[str, Any], timeout: float = VERB_SECONDS) -> dict[str, Any]:
        return self._exchange(verb, request, timeout)[1]

    def _exchange(self, verb: str, request: Mapping[str, Any], timeout: float) -> tuple[list[bytes], dict[str, Any]]:
        argv = [self._executor.python, f"{self._folder}/runner.py", verb]
        done = self._executor.run(argv, json.dumps({"v": VERSION, **request}).encode(), timeout)
        *lines, last = done.stdout.rstrip(b"\n").split(b"\n")
        reply = _event(last)
        if reply.get("v") != VERSION:
            said = plain(done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
            raise Lost(f"{self._executor.name}: the runner did not answer {verb} (status {done.status}) {said}")
        if "error" in reply:
            raise refusal(reply["error"], self._executor.name)
        return lines, reply


def refusal(error: Mapping[str, str], target: str) -> Exception:
    """Make of a runner's error the one the broker acts on."""
    kind, message = str(error.get("kind")), plain(error.get("message"))
    if kind in ("missing", "offline", "no_model"):
        return MissingHere(f"{target}: {message.partition('; install with: ')[0]}", message.partition("with: ")[2])
    if kind == "no_space":
        return NoSpace(f"{target}: {'the disk is full' if message.startswith('[Errno') else message}")
    known: dict[str, type[Exception]] = {
        "integrity": IntegrityError,
        "changed": InputError,
        "bad_request": OffloadError,
        "no_job": Lost,
    }
    return known.get(kind, ExecutorError)(f"{target}: {message}")


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return _object(event)
