"""Pieces of a picture to one clip: one continuous clock, and the input's sound and other tracks beside it."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import _ffmpeg
import _film
import av
from _ffmpeg import Tracks
from _job import ItemError
from _media import Media

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
    decoded = [*(stamp - shown[delay] for stamp in shown[:delay]), *shown]
    ends = [*shown[1:], shown[-1] + last]
    with av.open(str(folder / JOINED), "w", format="mp4", options={"fflags": "+bitexact"}) as target:
        stream, number = None, 0
        for piece in pieces:
            with _film.opened_piece(piece) as source:
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
        with _film.opened_piece(piece) as source:
            stamps = [packet.pts for packet in _packets(source)]
        places = {stamp: place for place, stamp in enumerate(sorted(stamps), len(order))}
        order += [places[stamp] for stamp in stamps]
    return order


def _packets(source: av.container.InputContainer) -> list[av.Packet]:
    return [packet for packet in source.demux(source.streams.video[0]) if packet.size]


def _stream(
    target: av.container.OutputContainer, source: av.container.InputContainer, unit: Fraction
) -> av.VideoStream:
    stream = target.add_stream_from_template(source.streams.video[0])
    stream.time_base = unit
    return stream


def assemble(media: Media, tracks: Tracks, pixels: int, start: Fraction, rate: Fraction, target: str) -> list[str]:
    """Arguments for ffmpeg to put `JOINED`, from `start` (seconds) on, and the input's other tracks into `target`.

    `rate` is of frames a second; only Matroska says it.
    """
    picture = ["-itsoffset", f"{float(start):.6f}", *_film.opened(JOINED, pixels)]
    maps = ["-map", "1:0", *_film.mapped(tracks)]
    # Said for one track, it must be said for all.
    says = (f"-map_metadata:s:{place} 0:s:{index}" for place, index in enumerate((media.index, *tracks.kept)))
    options = {"c:v:0": "copy", "format": _ffmpeg.MUXERS[tracks.container], "fflags": "+bitexact", **tracks.options}
    if tracks.container == "mkv":  # the times of the others would be rounded to it
        options["r:v:0"] = str(rate)
    written = [word for name, value in options.items() for word in (f"-{name}", value)]
    notes = ["-map_metadata", "0", "-map_chapters", "0", *" ".join(says).split()]
    # The input's own picture goes nowhere; but it counts for when the input starts.
    unused = ["-map", f"0:{media.index}", "-c", "copy", "-f", "null", "-"]
    return [*_film.command(pixels), *picture, *maps, *notes, *written, f"file:{target}", *unused]
