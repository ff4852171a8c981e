"""The two passes as ffmpeg argument lists, and the one place that runs ffmpeg.

What keeps the bytes the same on every machine: a pinned build, one OpenMP thread in the detector,
a constant number of encoder threads, x264 told to ignore which CPU it is on, and no version in the file.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg
from _job import BadInput, ItemError, LimitExceeded, Missing, sha256
from _media import HDR_TRANSFERS, UNSPECIFIED, Media, guards

# In small frames vid.stab's detector also looks beyond the picture, where anything may stand: by trial up to 64 high.
LEAST_WATCHED = 96
THREADS = 6  # of the encoder; constant because x264's output depends on it
SOURCE, TRANSFORMS, MOTIONS = "input", "transforms.trf", "global_motions.trf"
MUXERS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"}
LOG_LINES = 2000
# Damage is judged by our own count, so ffmpeg must not stop at its own share of bad frames.
GLOBAL = ("-hide_banner", "-nostdin", "-nostats", "-y", "-v", "level+verbose", "-max_error_rate", "1")
PROGRESS = ("-progress", "pipe:1", "-stats_period", "0.5")

# x264's decisions must not follow the instruction set of the machine.
SAME_EVERYWHERE = {
    "threads:v": THREADS,
    "x264-params": "cpu-independent=1",
    "flags:v": "+bitexact",
    "fflags": "+bitexact",
}

# Hable's filmic curve in linear light, 100 nits as SDR white; then BT.709 throughout.
TONE_MAP = (
    "zscale=transfer=linear:npl=100",
    "format=gbrpf32le",
    "zscale=primaries=bt709",
    "tonemap=hable:desat=0",
    "zscale=transfer=bt709:matrix=bt709:range=limited:dither=none",
)

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


@dataclass(frozen=True)
class Tracks:
    """What goes along with the video: stream indexes of the input, and ffmpeg's options for them."""

    container: str
    kept: tuple[int, ...]
    options: dict[str, str]
    notes: tuple[str, ...]


def executable() -> str:
    """The pinned ffmpeg, or what IMAGEIO_FFMPEG_EXE names; Missing when there is none."""
    try:
        found = shutil.which(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError:
        found = None
    if not found:
        raise Missing("ffmpeg is missing; unset IMAGEIO_FFMPEG_EXE, or type: pip install imageio-ffmpeg==0.8.1")
    return str(Path(found).absolute())


@functools.cache
def versions() -> dict[str, str]:
    """ffmpeg's version line and the sha256 of its binary; empty when it is missing."""
    try:
        binary = executable()
    except Missing:
        return {}
    text = subprocess.run([binary, "-version"], capture_output=True, text=True, check=False).stdout
    return {"ffmpeg": text.partition("\n")[0], "ffmpeg_sha256": sha256(Path(binary))}


def finder(params: dict[str, Any], width: int, height: int) -> str:
    """The filter that watches frames of this size, and writes `transforms.trf`."""
    find = f"vidstabdetect={search(params)}:fileformat=ascii:result={TRANSFORMS}"
    if min(width, height) >= LEAST_WATCHED:
        return find
    return f"pad=max(iw\\,{LEAST_WATCHED}):max(ih\\,{LEAST_WATCHED}):(ow-iw)/2:(oh-ih)/2,{find}"


def detect(media: Media, params: dict[str, Any], pixels: int) -> list[str]:
    """Arguments of the first pass: watch the video, write `transforms.trf`."""
    find = finder(params, media.width, media.height)
    source = ffmpeg.input(f"file:{SOURCE}", **guards(pixels))
    return arguments(
        ffmpeg.output(
            source[str(media.index)],
            "-",
            format="null",
            **{"filter:v:0": chain(media, find), "fps_mode": "passthrough"},
        )
    )


def transform(media: Media, params: dict[str, Any], pixels: int, tracks: Tracks, target: str) -> list[str]:
    """Arguments of the second pass: steady the video, carry the other tracks, write `target`."""
    source = ffmpeg.input(f"file:{SOURCE}", **guards(pixels))
    options = {
        "filter:v:0": chain(media, _steady(params)),
        "c:v:0": "libx264",
        "crf": float(params["crf"]),
        "preset": str(params["preset"]),
        "fps_mode": "passthrough",
        "enc_time_base:v": "demux",
        "map_metadata": 0,
        "map_chapters": 0,
        "format": MUXERS[tracks.container],
        **SAME_EVERYWHERE,
        **tracks.options,
    }
    streams = [source[str(index)] for index in (media.index, *tracks.kept)]
    return arguments(ffmpeg.output(*streams, f"file:{target}", **options))


def arguments(node: Any, *more: str) -> list[str]:
    """ffmpeg's command line for an output, or several merged; `more` goes first."""
    return [executable(), *GLOBAL, *PROGRESS, *more, *node.get_args()]


def chain(media: Media, last: str) -> str:
    """The filters before `last`, which is vid.stab's."""
    # vid.stab needs planar YUV of even size: it crashes or fails on anything else.
    even = "crop=trunc(iw/2)*2:trunc(ih/2)*2"
    return ",".join((*_colour(media), even, "format=yuv420p", last))


def _colour(media: Media) -> Iterator[str]:
    if media.transfer in HDR_TRANSFERS:
        if media.primaries == UNSPECIFIED:
            yield "setparams=color_primaries=bt2020:colorspace=bt2020nc"
        yield from TONE_MAP
        return
    # These flags make swscale's result the same on every CPU; it passes yuv420p through untouched.
    exact = "scale=flags=bicubic+accurate_rnd+bitexact"
    yield f"{exact}:out_color_matrix=bt709:out_range=limited" if media.rgb else exact


def search(params: dict[str, Any]) -> str:
    """How vid.stab's detector is told to look."""
    return f"shakiness={int(params['shakiness'])}:accuracy=15"


def _steady(params: dict[str, Any]) -> str:
    zoom = "optzoom=1" if params["zoom"] == "auto" else f"optzoom=0:zoom={float(params['zoom'])}"
    return (
        f"vidstabtransform=input={TRANSFORMS}:smoothing={int(params['smoothing'])}:optalgo=gauss:{zoom}"
        ":interpol=bilinear:crop=keep:debug=1"
    )


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
