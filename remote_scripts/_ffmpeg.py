"""The two passes as ffmpeg argument lists; `_passes` runs them.

What keeps the bytes the same on every machine: a pinned build, one OpenMP thread in the detector,
a constant number of encoder threads, x264 told to ignore which CPU it is on, and no version in the file.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg
from _job import Missing, sha256
from _media import HDR_TRANSFERS, UNSPECIFIED, Media, guards

# In small frames vid.stab's detector also looks beyond the picture, where anything may stand: by trial up to 64 high.
LEAST_WATCHED = 96
THREADS = 6  # of the encoder; constant because x264's output depends on it
SOURCE, TRANSFORMS, MOTIONS = "input", "transforms.trf", "global_motions.trf"
MUXERS = {"mp4": "mp4", "mov": "mov", "mkv": "matroska"}
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
