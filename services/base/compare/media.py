"""Clips and pictures compared by what ffmpeg decodes of them: frames, packets of sound, times."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from broker.errors import MissingHere
from services.base.compare import Comparison, Frame, Level, Pictures, Unreadable

TICK = 0.001
"""Seconds by which times may differ and be the same: the coarsest that our containers tell, Matroska's."""
SHOWN = 3  # frames that differ most, beside the first
WIDEST = 960  # pixels of a frame that is looked at
CLIPS = "mov,matroska,webm"
PICTURES = {".png": "png_pipe", ".jpg": "jpeg_pipe", ".jpeg": "jpeg_pipe", ".webp": "webp_pipe"}
MOST_PIXELS = 2 * 16 * 40_000_000
"""Of a frame: of the largest input that is taken (see broker.settings), enlarged four times; codecs round up."""
PSNR = re.compile(rb"psnr_avg:(\S+)")
SPEAKER = re.compile(r"^(\[[^]]*\] )+")  # which part of ffmpeg says it


@dataclass(frozen=True)
class Track:
    """What is decoded of a video track, or the packets of another: hashes, and times in seconds. `size` as WxH."""

    kind: str
    size: str
    hashes: tuple[str, ...]
    times: tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """What two clips of the same shape differ in; `decibels` is the PSNR of each frame, infinite for an equal one."""

    decibels: tuple[float, ...]
    shift: float
    sound: bool

    @property
    def worst(self) -> int:
        """The number of the frame that differs most."""
        return min(range(len(self.decibels)), key=self.decibels.__getitem__)

    @property
    def mean(self) -> float:
        """The PSNR of the mean squared error over all frames."""
        error = sum(10 ** (-each / 10) for each in self.decibels) / len(self.decibels)
        return -10 * math.log10(error) if error else math.inf

    def level(self, least: float) -> Level:
        """The level reached where no frame may be below `least` dB."""
        if not self.sound or self.shift > TICK or self.decibels[self.worst] < least:
            return Level.DIFFERENT
        return Level.FRAMES if math.isinf(self.decibels[self.worst]) else Level.CLOSE


def compare(one: Path, other: Path, least: float) -> Comparison:
    """Compare two clips or pictures: close where no frame has a PSNR below `least` dB, and sound and times are equal.

    Raises Unreadable for what cannot be decoded, MissingHere where ffmpeg is not installed.
    """
    ours, theirs = tracks(one, "the first"), tracks(other, "the other")
    if why := _misshapen(ours, theirs):
        counts = [[len(track.hashes) for track in found if track.kind == "video"] for found in (ours, theirs)]
        return Comparison(Level.DIFFERENT, {"frames": counts}, why, Pictures((Frame(0, 0.0, None),)))
    measured = _measured(one, other, ours, theirs)
    video = _first_video(ours)
    frames = tuple(Frame(n, video.times[n], _finite(measured.decibels[n])) for n in _shown(measured.decibels))
    figures = _figures(video, measured)
    return Comparison(measured.level(least), figures, _sentence(video, measured, least), Pictures(frames))


def _figures(video: Track, measured: Measured) -> dict[str, object]:
    return {
        "frames": len(video.hashes),
        "size": video.size,
        "equal_frames": sum(map(math.isinf, measured.decibels)),
        "worst_db": _finite(measured.decibels[measured.worst]),
        "worst_frame": measured.worst,
        "mean_db": _finite(measured.mean),
        "times_differ_seconds": round(measured.shift, 6),
        "sound_equal": measured.sound,
    }


def _sentence(video: Track, measured: Measured, least: float) -> str:
    count, equal = len(video.hashes), sum(map(math.isinf, measured.decibels))
    what = "the picture is" if count == 1 else f"all {count} frames are"
    if equal == count:
        said = f"{what} equal when decoded"
    else:
        place = f", frame {measured.worst} at {video.times[measured.worst]:.3f} s" if count > 1 else ""
        mean = f"; mean {measured.mean:.2f} dB; {equal} of {count} frames equal" if count > 1 else ""
        said = f"worst {measured.decibels[measured.worst]:.2f} dB{place}{mean} (close is {least:g} dB)"
    shift = f"; times differ by up to {measured.shift:.3f} s" if measured.shift > TICK else ""
    return said + shift + ("" if measured.sound else "; sound or subtitles differ")


def _finite(decibels: float) -> float | None:
    return None if math.isinf(decibels) else round(decibels, 2)


def _shown(decibels: Sequence[float]) -> list[int]:
    worst = sorted(range(len(decibels)), key=decibels.__getitem__)[:SHOWN]
    return sorted({0, *(number for number in worst if not math.isinf(decibels[number]))})


def _misshapen(ours: Sequence[Track], theirs: Sequence[Track]) -> str:
    """Why two clips cannot be laid side by side; empty where they can."""
    kinds = [" ".join(track.kind for track in found) for found in (ours, theirs)]
    if kinds[0] != kinds[1]:
        return f"the first has other tracks ({kinds[0]}) than the other ({kinds[1]})"
    for one, other in zip(ours, theirs, strict=True):
        if one.kind == "video" and one.size != other.size:
            return f"the first is {one.size}, the other {other.size}"
        if one.kind == "video" and len(one.hashes) != len(other.hashes):
            return f"the first has {len(one.hashes)} frames, the other {len(other.hashes)}"
    return ""


def _measured(one: Path, other: Path, ours: Sequence[Track], theirs: Sequence[Track]) -> Measured:
    video, theirs_video = _first_video(ours), _first_video(theirs)
    same = video.hashes == theirs_video.hashes
    decibels = (math.inf,) * len(video.hashes) if same else psnr(one, other)
    if len(decibels) != len(video.hashes):
        raise Unreadable(f"of {len(video.hashes)} frames only {len(decibels)} could be compared")
    rest = [
        [track.hashes for track in found if track is not shown]
        for found, shown in ((ours, video), (theirs, theirs_video))
    ]
    return Measured(decibels, _shift(ours, theirs), rest[0] == rest[1])


def _first_video(found: Sequence[Track]) -> Track:
    return next(track for track in found if track.kind == "video")


def _shift(ours: Sequence[Track], theirs: Sequence[Track]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return max((abs(a - b) for one, other in pairs for a, b in zip(one.times, other.times, strict=False)), default=0.0)


def tracks(path: Path, name: str = "it") -> list[Track]:
    """All tracks of a clip or picture, called `name`. Raises Unreadable when it has no picture, or is damaged."""
    kept = ("-map", "0:v", "-map", "0:a?", "-map", "0:s?", "-c", "copy", "-c:v", "rawvideo")
    passed = ("-enc_time_base:v", "demux", "-fps_mode", "passthrough", "-f", "framehash", "-hash", "sha256", "-")
    lines = _ffmpeg(name, "-copyts", *_input(path), *kept, *passed).decode().splitlines()
    heads: dict[str, dict[str, str]] = defaultdict(dict)
    rows: dict[str, list[list[str]]] = defaultdict(list)
    for line in lines:
        if head := re.fullmatch(r"#(\w+) (\d+): (.*)", line):
            heads[head[2]][head[1]] = head[3]
        elif not line.startswith("#"):
            index, *values = (word.strip() for word in line.split(","))
            rows[index].append(values)
    found = [_track(about, rows[index]) for index, about in heads.items() if "tb" in about]
    if not any(track.kind == "video" and track.hashes for track in found):
        raise Unreadable(f"{name} has no frame")
    return found


def _track(about: dict[str, str], rows: list[list[str]]) -> Track:
    tick = Fraction(about["tb"])
    times = tuple(float(int(pts) * tick) for _, pts, *_ in rows)
    return Track(about["media_type"], about.get("dimensions", ""), tuple(row[4] for row in rows), times)


def psnr(one: Path, other: Path) -> tuple[float, ...]:
    """PSNR in dB of each frame of the first video tracks, over all samples of all planes; frames go by number."""
    numbered = "settb=1/1000,setpts=N"  # not by time, where one that is off would shift all that follow
    graph = f"[0:v:0]{numbered}[a];[1:v:0]{numbered}[b];[a][b]psnr=stats_file=-"
    null = ("-enc_time_base", "filter", "-fps_mode", "passthrough", "-f", "null", "-")
    said = _ffmpeg("one of them", *_input(one), *_input(other), "-lavfi", graph, *null)
    return tuple(float(value) for value in PSNR.findall(said))


def stills(path: Path, numbers: Sequence[int]) -> list[bytes]:
    """Frames as PNG, by their numbers, in order; smaller where they are wider than `WIDEST`. Raises Unreadable."""
    chosen = "+".join(f"eq(n,{number:d})" for number in numbers)
    scale = f"select='{chosen}',scale='min({WIDEST},iw)':-1"
    with tempfile.TemporaryDirectory(prefix="offload-stills-") as folder:
        _ffmpeg("it", *_input(path), "-map", "0:v:0", "-vf", scale, "-fps_mode", "passthrough", f"{folder}/%06d.png")
        return [file.read_bytes() for file in sorted(Path(folder).iterdir())]


def _input(path: Path) -> list[str]:
    """Options that open a result, and nothing that it may name: it came from another machine."""
    kind = PICTURES.get(path.suffix.lower())
    told = ["-f", kind] if kind else ["-format_whitelist", CLIPS]
    return [*told, "-protocol_whitelist", "file", "-max_pixels", f"{MOST_PIXELS}", "-i", f"file:{path.absolute()}"]


def _ffmpeg(name: str, *arguments: str) -> bytes:
    command = [executable(), "-hide_banner", "-nostdin", "-v", "error", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"status {done.returncode}"]
        raise Unreadable(f"{name} cannot be decoded: {SPEAKER.sub('', said[0])}")
    return done.stdout


def executable() -> str:
    """The ffmpeg that stabilising uses, too. Raises MissingHere."""
    try:
        import imageio_ffmpeg

        found = shutil.which(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        found = None
    if found is None:
        what = "to compare clips and pictures, ffmpeg is needed here"
        raise MissingHere(what, "unset IMAGEIO_FFMPEG_EXE, or type: pip install 'offload-broker[stabilize]'")
    return str(Path(found).absolute())
