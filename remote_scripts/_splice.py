"""Pieces of a picture to one clip: one continuous clock, and the input's sound and other tracks beside it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import _ffmpeg
import av
import ffmpeg
from _ffmpeg import Tracks
from _job import ItemError
from _media import Media, guards

JOINED = "joined.mp4"


def join(pieces: Sequence[Path], stamps: Sequence[int], last: int, unit: Fraction, folder: Path) -> None:
    """Write the packets of all pieces to `JOINED`, as they are, one clip that starts at 0.

    Frame k is shown at `stamps[k]`, the last one for `last`, in units of `unit` seconds. A piece's own time stamps only
    say in which order its frames are shown. Raises ItemError unless there are as many frames as stamps.
    """
    order = _order(pieces)
    if len(order) != len(stamps):
        raise ItemError(f"frames were lost: {len(stamps)} decoded, {len(order)} encoded")
    delay = max(number - place for number, place in enumerate(order))
    shown = [stamp - stamps[0] for stamp in stamps]
    # Before the first frame is shown, those that it waits for are decoded.
    decoded = [*range(-delay, 0), *shown]
    ends = [*shown[1:], shown[-1] + last]
    with av.open(str(folder / JOINED), "w", format="mp4", options={"fflags": "+bitexact"}) as target:
        stream, number = None, 0
        for piece in pieces:
            with _opened(piece) as source:
                stream = stream or _stream(target, source, unit)
                for packet in _packets(source):
                    place = order[number]
                    packet.pts, packet.dts, packet.duration = shown[place], decoded[number], ends[place] - shown[place]
                    packet.time_base, packet.stream = unit, stream
                    target.mux(packet)
                    number += 1


def _order(pieces: Sequence[Path]) -> list[int]:
    """Which frame of the clip each packet holds, in the order of the packets."""
    order: list[int] = []
    for piece in pieces:
        with _opened(piece) as source:
            stamps = [packet.pts for packet in _packets(source)]
        places = {stamp: place for place, stamp in enumerate(sorted(stamps), len(order))}
        order += [places[stamp] for stamp in stamps]
    return order


def _opened(piece: Path) -> av.container.InputContainer:
    return av.open(f"file:{piece}", options={"protocol_whitelist": "file", "format_whitelist": "nut"})


def _packets(source: av.container.InputContainer) -> list[av.Packet]:
    return [packet for packet in source.demux(source.streams.video[0]) if packet.size]


def _stream(
    target: av.container.OutputContainer, source: av.container.InputContainer, unit: Fraction
) -> av.VideoStream:
    stream = target.add_stream_from_template(source.streams.video[0])
    stream.time_base = unit
    return stream


def assemble(media: Media, tracks: Tracks, pixels: int, start: Fraction, target: str) -> list[str]:
    """Arguments for ffmpeg to put `JOINED`, from `start` (seconds) on, and the input's other tracks into `target`."""
    source = ffmpeg.input(f"file:{_ffmpeg.SOURCE}", **guards(pixels))
    picture = ffmpeg.input(f"file:{JOINED}", itsoffset=f"{float(start):.6f}", **guards(pixels))
    options: dict[str, Any] = {
        "c:v:0": "copy",
        "map_metadata": 0,
        "map_metadata:s:v:0": f"0:s:{media.index}",
        "map_chapters": 0,
        "format": _ffmpeg.MUXERS[tracks.container],
        "flags:v": "+bitexact",
        "fflags": "+bitexact",
        **tracks.options,
    }
    streams = [picture["0"], *(source[str(index)] for index in tracks.kept)]
    node = ffmpeg.output(*streams, f"file:{target}", **options)
    return [_ffmpeg.executable(), *_ffmpeg.GLOBAL, *_ffmpeg.PROGRESS, *node.get_args()]
