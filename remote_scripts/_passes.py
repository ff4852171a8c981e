"""One run of ffmpeg: its progress, its own count at the end, and what it says that tells of damage or failure."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _job import BadInput, ItemError, LimitExceeded

LOG_LINES = 2000
COUNTS = re.compile(
    r"\[in#0.*Input stream #0:\d+ \(video\): (\d+) packets read .*; (\d+) frames decoded; (\d+) decode err"
)
ENCODED = re.compile(r"\[out#0.*Output stream #0:0 \(video\): (\d+) frames encoded")
DAMAGE = re.compile(
    r"corrupt decoded frame|Packet corrupt|corrupt input packet|File ended prematurely|Invalid track number"
    r"|as first byte of an EBML number|exceeds containing master|concealing \d+ DC"
)
REFUSED_TRACK = re.compile(r"not currently supported in container|only supported in|codec not supported")
NOISE = re.compile(r"disabled \(\d+\+\d+\)/|Preprocess transforms")
PREFIX = re.compile(r"^(?:\[[^\]]*@ 0x[0-9a-f]+\] )*\[(\w+)\] ?")
EMPTY_PHRASES = (
    "Conversion failed",
    "Error opening",
    "Error splitting",
    "Task finished with error",
    "Terminating thread",
    "Nothing was written",
    "Could not open encoder before EOF",
)


@dataclass(frozen=True)
class Tick:
    """Progress of a pass: `frame` frames written, up to `seconds` of the clip."""

    frame: int
    seconds: float


@dataclass(frozen=True)
class Tally:
    """ffmpeg's own count at the end of a pass. `damage` is the first sign of damage it met, or empty."""

    packets: int
    decoded: int
    errors: int
    encoded: int
    damage: str


class Pass:
    """One run of ffmpeg in `folder`. Iterate for its progress; then `tally` holds its count.

    Raises ItemError (or a kind of it) with ffmpeg's last telling line when ffmpeg does not finish.
    A pass that is not iterated to its end is killed.
    """

    def __init__(self, arguments: list[str], folder: Path) -> None:
        self.tally = Tally(0, 0, 0, 0, "")
        self._arguments = arguments
        self._folder = folder
        self._packets = self._decoded = self._errors = self._encoded = 0
        self._damage = self._telling = self._refused = ""

    def __iter__(self) -> Iterator[Tick]:
        process = self._start()
        pump = threading.Thread(target=self._read_log, args=(process.stderr,), daemon=True)
        pump.start()
        try:
            finished = yield from self._follow(process)
            status = process.wait()
        finally:
            process.kill()
            process.wait()
            pump.join()
            for pipe in (process.stdout, process.stderr):
                pipe.close()
        if status != 0 or not finished:
            end_alike(status)
            raise self._failure(status)
        self.tally = Tally(self._packets, self._decoded, self._errors, self._encoded, self._damage)

    def _follow(self, process: Any) -> Generator[Tick, None, bool]:
        """Read what ffmpeg says on stdout; returns whether it reached the end."""
        return (yield from _ticks(process.stdout))

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._arguments,
            cwd=self._folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )

    def _read_log(self, lines: Any) -> None:
        for number, line in enumerate(line for line in lines if not NOISE.search(line)):
            self._notice(line)
            if number < LOG_LINES:
                print(line.rstrip()[:500], file=sys.stderr)

    def _notice(self, line: str) -> None:
        if counts := COUNTS.match(line):
            self._packets, self._decoded, self._errors = map(int, counts.groups())
        elif encoded := ENCODED.match(line):
            self._encoded = int(encoded[1])
        elif (level := PREFIX.match(line)) and level[1] != "verbose":
            self._notice_trouble(level[1], line[level.end() :].rstrip(" .\n"))

    def _notice_trouble(self, level: str, message: str) -> None:
        if not message.startswith(" ") and DAMAGE.search(message):  # indented: the input's own metadata
            self._damage = self._damage or message
        if level in ("error", "fatal") and not message.startswith(EMPTY_PHRASES):
            self._telling = message
        if REFUSED_TRACK.search(message):
            self._refused = message

    def _failure(self, status: int) -> Exception:
        if "Cannot allocate memory" in self._telling:
            return MemoryError("ffmpeg found no memory")
        if "No space left on device" in self._telling:
            return LimitExceeded("the disk is full where the job runs")
        if self._refused:
            return BadInput(f"the output cannot hold a track ({self._refused}); use -o with a name in .mkv")
        return ItemError(f"ffmpeg stopped with status {status}: {self._telling or 'it gave no reason'}")


def end_alike(status: int) -> None:
    """End this script as ffmpeg was, if that was killed: that says nothing of the clip, and another attempt goes on."""
    if status == -signal.SIGKILL:
        print("ffmpeg was killed, and this script ends with it", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


def _ticks(lines: Any) -> Generator[Tick, None, bool]:
    """Read `-progress` blocks; returns whether ffmpeg said that it reached the end."""
    block: dict[str, str] = {}
    for line in lines:
        key, _, value = line.strip().partition("=")
        block[key] = value
        if key == "progress":
            yield Tick(_number(block.get("frame")), _number(block.get("out_time_us")) / 1e6)
            if value == "end":
                return True
    return False


def _number(text: str | None) -> int:
    return int(text) if text and text.lstrip("-").isdigit() else 0


def _die_with_parent() -> None:
    # prctl(PR_SET_PDEATHSIG, SIGKILL): a script that is killed leaves no encoder behind.
    ctypes.CDLL(None).prctl(1, 9)
