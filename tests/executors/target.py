"""A target as its tests see it: an executor, and the runner's verbs spoken through it. Nothing else is touched."""

from __future__ import annotations

import hashlib
import json
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import remote_scripts
from executors.base import PART_BYTES, REPLY_BYTES, Completed, Executor, NoSuchFile, Span

FAKE_WORK = Path(__file__).with_name("fake_work.py")
ANY_PYTHON = {"requires_python": ">=3.8", "dependencies": [], "install": ""}
WAIT = 5.0

Event = dict[str, Any]
Step = Sequence[Any]

GONE = """
import os, sys
def state(pid):
    try:
        os.kill(pid, 0)
        with open("/proc/%d/stat" % pid) as file:
            return file.read().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return "X"
    except FileNotFoundError:
        return "X" if os.path.exists("/proc/self/stat") else "?"
print([pid for pid in map(int, sys.argv[1:]) if state(pid) not in "XZ"])
"""


@dataclass(frozen=True)
class Reply:
    """What one verb printed: the lines before the last, raw, and the last one."""

    lines: list[bytes]
    value: dict[str, Any]

    @property
    def events(self) -> list[Event]:
        """The lines that are JSON objects."""
        return [event for event in map(_parsed, self.lines) if event is not None]


class Target:
    """Verbs, files and jobs of one entered executor. `scratch` is a local folder for what is sent."""

    folder = "scripts/conformance"

    def __init__(self, executor: Executor, scratch: Path) -> None:
        self.executor = executor
        self.scratch = scratch
        try:
            executor.get(f"{self.folder}/installed", Span(0, 1))
        except NoSuchFile:
            self._install()

    def _install(self) -> None:
        package = Path(remote_scripts.__path__[0])
        for path in [package / "runner.py", *(package / "_runner").glob("*.py"), FAKE_WORK]:
            name = path.name if path == FAKE_WORK else path.relative_to(package).as_posix()
            self.put(path.read_bytes(), f"{self.folder}/{name}")
        self.put(b"1", f"{self.folder}/installed")

    def put(self, data: bytes, path: str) -> None:
        """Write a file of at most one part."""
        self.executor.put(self.local_file(data), Span(0, len(data)), path)

    def get(self, path: str) -> bytes:
        """Read a file of at most one part."""
        return self.executor.get(path, Span(0, PART_BYTES))

    def local_file(self, data: bytes) -> Path:
        """Make a file on this side."""
        path = self.scratch / secrets.token_hex(8)
        path.write_bytes(data)
        return path

    def python(self, code: str, *arguments: object, stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        """Run some Python on the target."""
        argv = [self.executor.python, "-c", code, *map(str, arguments)]
        return self.executor.run(argv, stdin, timeout)

    def eval(self, expression: str, *arguments: object) -> Any:
        """Evaluate an expression on the target, with `os`, `sys` and `stat` at hand; its value as JSON."""
        code = f"import json, os, stat, sys, time; print(json.dumps({expression}))"
        done = self.python(code, *arguments)
        assert done.status == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def alive(self, pids: Sequence[int]) -> list[int]:
        """Which of the target's processes live; zombies do not."""
        found: list[int] = json.loads(self.python(GONE, *pids).stdout)
        return found

    def exchange(self, verb: str, request: Mapping[str, Any]) -> tuple[int, Reply]:
        """Speak one verb; returns its exit status and reply."""
        argv = [self.executor.python, f"{self.folder}/runner.py", verb]
        done = self.executor.run(argv, json.dumps(request).encode())
        assert done.stderr == b"", done.stderr.decode()
        assert len(done.stdout) <= REPLY_BYTES
        *lines, last = done.stdout.rstrip(b"\n").split(b"\n")
        return done.status, Reply(lines, json.loads(last))

    def call(self, verb: str, **request: Any) -> dict[str, Any]:
        """Speak one verb that must succeed."""
        status, reply = self.exchange(verb, request)
        assert status == 0, reply.value
        assert reply.value["v"] == 1
        return reply.value

    def refusal(self, verb: str, **request: Any) -> tuple[str, str]:
        """Speak one verb that must be refused; returns the kind of error and the message."""
        status, reply = self.exchange(verb, request)
        assert status == 3, reply.value
        return reply.value["error"]["kind"], reply.value["error"]["message"]

    def send_parts(self, data: bytes, size: int, numbers: Sequence[int]) -> str:
        """Send the parts with these numbers, of `size` bytes each; returns the sha256 of all."""
        sha256, source = hashlib.sha256(data).hexdigest(), self.local_file(data)
        for number in numbers:
            span = Span(number * size, min(size, len(data) - number * size))
            self.executor.put(source, span, f"parts/{sha256}/{number}")
        return sha256

    def send(self, data: bytes) -> str:
        """Make a blob of one part; returns its sha256."""
        sha256 = self.send_parts(data, PART_BYTES, [0])
        self.call("assemble", sha256=sha256, size=len(data), parts=1)
        return sha256

    def request(self, *steps: Step, job: str = "", **fields: Any) -> dict[str, Any]:
        """Compose a request to start a job of these steps."""
        spec = {"id": "x", "service": "fake", "params": {"steps": steps}, "items": []}
        script = f"{self.folder.partition('/')[2]}/fake_work.py"
        made = {"job": job or uuid.uuid4().hex[:16], "script": script, "spec": spec, "inputs": []}
        return {**made, "environment": ANY_PYTHON, **fields}

    def start(self, *steps: Step, **fields: Any) -> str:
        """Start a job of these steps; returns its id."""
        request = self.request(*steps, **fields)
        self.call("start", **request)
        return str(request["job"])

    def pages(self, job: str, since: int = 0) -> Iterator[Reply]:
        """Follow a job to its end, a reply at a time."""
        while True:
            status, reply = self.exchange("events", {"job": job, "since": since, "wait": WAIT})
            assert status == 0, reply.value
            yield reply
            if reply.value["state"] != "running":
                return
            since = reply.value["next"]

    def follow(self, job: str, since: int = 0) -> tuple[list[Event], dict[str, Any]]:
        """Follow a job to its end; returns its events and the last reply."""
        pages = list(self.pages(job, since))
        return [event for page in pages for event in page.events], pages[-1].value

    def finish(self, *steps: Step, **fields: Any) -> tuple[list[Event], dict[str, Any]]:
        """Start a job and follow it to its end."""
        return self.follow(self.start(*steps, **fields))

    def wait_for(self, job: str, enough: Callable[[list[Event]], bool]) -> list[Event]:
        """Follow a job until its events are enough."""
        seen: list[Event] = []
        for page in self.pages(job):
            seen += page.events
            if enough(seen):
                return seen
        raise AssertionError(f"{job} ended with only {seen}")

    def pids(self, job: str, count: int) -> list[int]:
        """Wait until `count` processes of a job have told their pid."""
        found = self.wait_for(job, lambda seen: sum(event["type"] == "pid" for event in seen) >= count)
        return [event["pid"] for event in found if event["type"] == "pid"]

    def supervisor(self, job: str) -> int:
        """Pid of the supervisor of a job that runs."""
        self.wait_for(job, bool)
        return int(json.loads(self.get(f"jobs/{job}/status.json"))["pid"])


def _parsed(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
