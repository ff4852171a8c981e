"""Makers of small test clips, with the pinned ffmpeg and nothing else.

The footage is a textured picture seen through a shaking window, so the true camera path is known.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg

SIZE = (160, 120)
RATE = 25
MARGIN = 32


def ffmpeg(*args: str | Path, cwd: Path | None = None) -> str:
    """Run the pinned ffmpeg; returns what it wrote to stderr, raises CalledProcessError when it fails."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin", "-y", *map(str, args)]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stderr


def shake(frame: int) -> tuple[int, int]:
    """Where the window's corner lies at `frame`, in whole pixels, within +-12 of the middle."""
    x = 8 * math.sin(0.9 * frame) + 4 * math.sin(2.3 * frame + 1)
    y = 7 * math.cos(1.1 * frame) + 4 * math.sin(2.9 * frame + 2)
    return math.floor(x + 0.5), math.floor(y + 0.5)


def footage(size: tuple[int, int] = SIZE, rate: int | str = RATE, steady: bool = False) -> str:
    """A lavfi source of endless shaky (or steady) textured footage, `size` in pixels."""
    width, height = size
    texture = "128+38*sin(X/5+3*sin(Y/17))+34*cos(Y/4+2*cos(X/13))+28*sin((X+Y)/9)*cos((X-2*Y)/23)"
    colour = "cb='128+40*sin(X/31)':cr='128+40*cos(Y/29)'"
    x, y = "8*sin(0.9*n)+4*sin(2.3*n+1)", "7*cos(1.1*n)+4*sin(2.9*n+2)"
    corner = "0:0" if steady else f"'{MARGIN}+floor({x}+0.5)':'{MARGIN}+floor({y}+0.5)'"
    return (
        f"color=s={width + 2 * MARGIN}x{height + 2 * MARGIN}:r={rate},format=yuv444p,trim=end_frame=1,"
        f"geq=lum='{texture}':{colour},loop=-1:1,setpts=N/({rate})/TB,crop={width}:{height}:{corner}"
    )


def clip(
    path: Path,
    seconds: float = 1,
    size: tuple[int, int] = SIZE,
    *,
    rate: int | str = RATE,
    steady: bool = False,
    sound: bool = True,
    pix_fmt: str = "yuv420p",
    video: Sequence[str] = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "20"),
    audio: Sequence[str] = ("-c:a", "aac"),
    extra: Sequence[str | Path] = (),
) -> Path:
    """Make a shaky clip with a tone; `extra` goes before the output name. Returns `path`."""
    inputs = ["-f", "lavfi", "-i", footage(size, rate, steady)]
    if sound:
        inputs += ["-f", "lavfi", "-i", f"sine=440:r=44100:d={seconds}"]
    tracks = ["-map", "0:v", *(["-map", "1:a", *audio] if sound else []), "-pix_fmt", pix_fmt]
    ffmpeg(*inputs, *tracks, *video, "-t", f"{seconds}", *extra, path)
    return path


def remux(source: Path, path: Path, *options: str | Path, before: Sequence[str | Path] = ()) -> Path:
    """Copy every stream of `source` to `path`; `before` goes ahead of the input. Returns `path`."""
    ffmpeg(*before, "-i", source, "-map", "0", "-c", "copy", *options, path)
    return path


def truncate(source: Path, path: Path, share: float) -> Path:
    """The first `share` (0-1) of `source`'s bytes. Returns `path`."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def rot(source: Path, path: Path, start: float = 0.3, stop: float = 0.7, every: int = 97) -> Path:
    """Flip a byte in every `every` between two shares (0-1) of `source`. Returns `path`."""
    data = bytearray(source.read_bytes())
    for place in range(int(len(data) * start), int(len(data) * stop), every):
        data[place] ^= 0xFF
    path.write_bytes(data)
    return path
