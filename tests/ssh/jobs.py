"""Commands of the fake work that go to another machine: typed, caught in the middle, and what must hold afterwards."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker import settings
from broker.journal import Journal
from tests import fakework
from tests.executors.sshd import Server, public
from tests.services.typed import FAKEWORK, QUICK, Said, Word, environment

COMES_TO_IT = 120.0
"""Seconds after which what should come about will not: far more than it takes on a busy machine."""

SILENCE = 60
"""Seconds that the target of these tests may be silent: a busy machine may be for a few."""

TIMED = {"upload": {"stage_in"}, "run": {"stage_in", "run"}, "download": {"stage_in", "run", "stage_out"}}
"""What a receipt has times for, by the stage in which the machine was lost."""


def configure(dirs: Path, server: Server, **changed: object) -> None:
    """Make the server the one target, `box`; `changed` options are given another value."""
    options: dict[str, Any] = {"silence": SILENCE, **server.options(**changed)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    (dirs / "config/targets.toml").write_text("\n".join(["[box]", *lines]))


def through(server: Server, port: int) -> str:
    """The url of the server by another port of this machine, where its key is known too."""
    with server.known_hosts.open("a") as file:
        file.write(f"[127.0.0.1]:{port} {public(server.host_key)}\n")
    return server.url.replace(f":{server.port}/", f":{port}/")


def there(server: Server, pattern: str) -> list[Path]:
    """What lies under a target's root."""
    return list((server.folder / "root").glob(pattern))


def heard_of() -> bool:
    """Whether the driver has heard of a job's progress: it is in the run, and not only about to start it."""
    journal = settings.load().journal
    if not journal.exists():
        return False
    with Journal(journal, mend=False) as opened:
        return any(sum(opened.progress(job.id)) > 0 for job in opened.jobs())


@dataclass(frozen=True)
class Command:
    """A command that was typed and goes on."""

    process: subprocess.Popen[bytes]
    complaints: Path

    def comes_to(self, sign: Callable[[], object]) -> None:
        """Wait for a sign, which must come before the end."""
        deadline = time.monotonic() + COMES_TO_IT
        while not sign():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.005)

    @property
    def said(self) -> str:
        """What it said on stderr so far."""
        return self.complaints.read_text()

    def end(self) -> Said:
        """Wait for the end."""
        out, _ = self.process.communicate(timeout=COMES_TO_IT)
        assert "Traceback" not in self.said, self.said
        return Said(self.process.returncode, out, self.said)


@contextmanager
def typed(words: Sequence[Word], folder: Path) -> Iterator[Command]:
    """Type a command. It does not outlive the context."""
    with (
        tempfile.NamedTemporaryFile() as err,
        subprocess.Popen(words, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=err) as process,
    ):
        try:
            yield Command(process, Path(err.name))
        finally:
            process.kill()


class Work:
    """A command of the fake work on some clips, whose items wait half-way until they are let go on.

    Args:
        clips: the inputs, in one folder.
        words: more of the command's options.
        before: what stands before the command.
        size: bytes of each output.
        out: the folder for the outputs; `out` beside the inputs by default.
    """

    def __init__(
        self,
        *clips: Path,
        words: Sequence[str] = (),
        before: Sequence[str] = (),
        size: int = fakework.SIZE,
        out: Path | None = None,
    ) -> None:
        self.clips, self.size = clips, size
        self._folder = clips[0].parent
        self._out = out or self._folder / "out"
        self._hold = self._folder / "hold"
        self._hold.mkdir(exist_ok=True)
        options = ("--size", str(size), "--hold", self._hold, "-o", f"{self._out}/", "--json")
        self._words = [*before, *FAKEWORK, *QUICK, *options, *words, *clips]

    def go_on(self, index: int | None = None) -> None:
        """Let one item go on, or all."""
        for number in range(len(self.clips)) if index is None else [index]:
            (self._hold / str(number)).touch()

    def type(self) -> Said:
        """Type the command, and let nothing wait."""
        self.go_on()
        with self.typed() as command:
            return command.end()

    def typed(self) -> AbstractContextManager[Command]:
        """The command, typed."""
        return typed(self._words, self._folder)

    def end(self, command: Command) -> Said:
        """Let all go on to the end."""
        self.go_on()
        return command.end()

    @property
    def outputs(self) -> list[Path]:
        """Where the clips' outputs appear."""
        return [self._out / f"{clip.stem}.worked.bin" for clip in self.clips]

    def assert_published(self) -> None:
        """All outputs are there, right, and nothing else is."""
        assert sorted(self._out.iterdir()) == sorted(self.outputs)
        for clip, output in zip(self.clips, self.outputs, strict=True):
            assert output.read_bytes() == fakework.expected(clip.read_bytes(), self.size)

    def assert_nothing_published(self) -> None:
        """No output is there, nor a part of one."""
        assert not list(self._out.glob("*"))

    def assert_moved_here(self, said: Said, stage: str) -> None:
        """`box` was lost in a stage, and the command ended well here; one line and the receipt tell it."""
        assert said.code == 0, said.err
        self.assert_published()
        assert said.err.count("going on with local") == 1
        assert tried(said) == [("box", "lost"), ("local", "done")]
        lost, here = said.document["attempts"]
        assert set(lost["timings"]) == TIMED[stage]
        assert lost["error"].startswith("box: ")
        assert lost["error"] in said.err
        assert here["reason"] == "the next in your order"
        assert made_by(said) == [2] * len(self.clips)

    def assert_ended_there(self, said: Said, reason: str = "box: ") -> None:
        """The command ended with 5 and a sentence that names the target; nothing was done anywhere else."""
        assert said.code == 5, said.err
        assert reason in said.document["error"]
        assert reason in said.err
        assert "going on with" not in said.err
        assert [target for target, _ in tried(said)] in ([], ["box"])
        self.assert_nothing_published()


def tried(said: Said) -> list[tuple[str, str]]:
    """Each attempt's target, and how it ended."""
    return [(attempt["target"], attempt["state"]) for attempt in said.document["attempts"]]


def made_by(said: Said) -> list[int]:
    """The number of the attempt that made each item."""
    return [item["outputs"][0]["attempt"] for item in said.document["items"]]
