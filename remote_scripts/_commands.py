"""ffmpeg's arguments for a clip that is done in segments; `_ffmpeg` has those for one done in one piece."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import _cut
import _ffmpeg
import ffmpeg
from _media import Media, guards

TIMES, SEAM = "times.txt", "seam.crc"


@dataclass(frozen=True)
class Finish:
    """What is said of the finished video stream beside what is in it: frames a second, ffmpeg's dispositions, and
    the range of its values (H.273; 0: nothing)."""

    rate: Fraction
    disposition: str
    range: int


def detect_stretch(
    media: Media, params: dict[str, Any], index: _cut.Index, stretch: _cut.Stretch, pixels: int
) -> list[str]:
    """Arguments of the first pass over a stretch; it also lists its frames' times, and the CRC of those at its ends."""
    width, height = watched_size(media, bool(params.get("fast")))
    find = _ffmpeg.finder(params, width, height)
    if params.get("fast"):
        find = f"scale={width}:{height}:flags=area+accurate_rnd+bitexact,{find}"
    stream = ffmpeg.input(f"file:{_ffmpeg.SOURCE}", **_cut.reading(stretch, index, pixels))[str(media.index)]
    own, ends = _cut.trim(stretch), "+".join(f"eq(pts\\,{time})" for time in stretch.ends)
    clock = {"fps_mode": "passthrough", "enc_time_base:v": "demux"}
    listed = {"stats_enc_pre:v:0": TIMES, "stats_enc_pre_fmt": "{pts}"}
    watched = ffmpeg.output(
        stream, "-", format="null", **{"filter:v:0": f"{own},{_ffmpeg.chain(media, find)}"}, **listed, **clock
    )
    seams = ffmpeg.output(stream, f"file:{SEAM}", format="framecrc", **{"filter:v:0": f"{own},select={ends}"}, **clock)
    return _ffmpeg.arguments(ffmpeg.merge_outputs(watched, seams), "-copyts")


def watched_size(media: Media, fast: bool) -> tuple[int, int]:
    """Width and height of the picture that the first pass looks at: half the clip's when it is to be fast."""
    return (media.width // 4 * 2, media.height // 4 * 2) if fast else (media.width, media.height)


def sum_up(media: Media, params: dict[str, Any]) -> list[str]:
    """Arguments that turn `transforms.trf` into the motion of each frame, `global_motions.trf`."""
    width, height = watched_size(media, bool(params.get("fast")))
    blank = ffmpeg.input(f"color=s={width}x{height}:r=1:d=1", format="lavfi")
    add = f"format=yuv420p,vidstabtransform=input={_ffmpeg.TRANSFORMS}:smoothing=0:optalgo=gauss:optzoom=0:debug=1"
    return _ffmpeg.arguments(ffmpeg.output(blank, "-", format="null", vframes=1, **{"filter:v:0": add}))


def warp_stretch(media: Media, index: _cut.Index, stretch: _cut.Stretch, zoom: float, pixels: int) -> list[str]:
    """Arguments of the second pass over a stretch, along the path in `transforms.trf`: pictures to stdout, as NUT."""
    stream = ffmpeg.input(f"file:{_ffmpeg.SOURCE}", **_cut.reading(stretch, index, pixels))[str(media.index)]
    warp = (
        f"vidstabtransform=input={_ffmpeg.TRANSFORMS}:relative=0:smoothing=0:optalgo=gauss:optzoom=0:zoom={zoom!r}"
        ":interpol=bilinear:crop=keep"
    )
    options = {
        "filter:v:0": f"{_cut.trim(stretch)},{_ffmpeg.chain(media, warp)}",
        "c:v:0": "rawvideo",
        "fps_mode": "passthrough",
        "enc_time_base:v": "demux",
        "thread_queue_size": 1,  # pictures are large, and the pipe holds up whoever is ahead
        "format": "nut",
    }
    return [_ffmpeg.executable(), *_ffmpeg.GLOBAL, "-copyts", *ffmpeg.output(stream, "pipe:1", **options).get_args()]


def mux(media: Media, pixels: int, tracks: _ffmpeg.Tracks, like: Finish, video: str, target: str) -> list[str]:
    """Arguments that put the finished `video` (QuickTime) and the other tracks together, as `transform` would."""
    # Without its own start time the video keeps the clock it has.
    steady = {"protocol_whitelist": "file", "format_whitelist": "mov", "seek_timestamp": 1}
    inputs = [(steady, video), (guards(pixels), _ffmpeg.SOURCE)]
    read = [word for options, name in inputs for word in (*_words(options), "-i", f"file:{name}")]
    maps = [word for index in tracks.kept for word in ("-map", f"1:{index}")]
    options = {
        "c:v:0": "copy",
        **(_matroska(like) if tracks.container == "mkv" else {}),
        "disposition:v:0": like.disposition,
        "map_metadata": 1,
        "map_metadata:s:v:0": f"1:s:{media.index}",
        "map_chapters": 1,
        "f": _ffmpeg.MUXERS[tracks.container],
        "fflags": "+bitexact",
        **tracks.options,
    }
    # Two words about the input's stream that an encoder would have replaced.
    own = ("-metadata:s:v:0", "creation_time=", "-metadata:s:v:0", "encoder=Lavc libx264")
    command = [_ffmpeg.executable(), *_ffmpeg.GLOBAL, *_ffmpeg.PROGRESS, *read, "-map", "0:0", *maps]
    return [*command, *_words(options), *own, f"file:{target}"]


def _matroska(like: Finish) -> dict[str, Any]:
    # It says the rate; the times of the others would be rounded to it. And where nothing is said of the range, an
    # encoder would have said that it is the limited one.
    return {"r:v:0": like.rate, **({} if like.range else {"color_range:v:0": "tv"})}


def _words(options: Mapping[str, Any]) -> list[str]:
    return [word for name, value in options.items() for word in (f"-{name}", str(value))]


def sample(media: Media, params: dict[str, Any], pixels: int, target: str) -> list[str]:
    """Arguments that encode the first frames as `transform` would, but do not steady them."""
    stream = ffmpeg.input(f"file:{_ffmpeg.SOURCE}", **guards(pixels))[str(media.index)]
    options = {
        "filter:v:0": _ffmpeg.chain(media, "null"),
        "c:v:0": "libx264",
        "crf": float(params["crf"]),
        "preset": str(params["preset"]),
        "fps_mode": "passthrough",
        "enc_time_base:v": "demux",
        "frames:v": 2,
        **_ffmpeg.SAME_EVERYWHERE,
    }
    return _ffmpeg.arguments(ffmpeg.output(stream, f"file:{target}", **options))
