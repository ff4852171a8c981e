"""Encoded segments become one clip: their packets in a row, unchanged, with one continuous clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from _job import ItemError

JOINED = "joined.mov"


def opened_piece(piece: Path) -> av.container.InputContainer:
    """Open a segment that was encoded, here or on another machine."""
    return av.open(f"file:{piece}", options={"protocol_whitelist": "file", "format_whitelist": "nut"})


def is_piece(path: Path, header: bytes | None, frames: int) -> bool:
    """Whether a file is a segment of so many frames, encoded as the encoder's `header` says."""
    with suppress(av.error.FFmpegError, OSError), opened_piece(path) as file:
        found = file.streams.video[0].codec_context.extradata if file.streams.video else None
        return found == header and sum(1 for _ in _packets(file)) == frames
    return False


def join(pieces: Sequence[Path], stamps: Sequence[int], last: int, unit: Fraction, folder: Path) -> Path:
    """Write the packets of all pieces, as they are, to one clip in `folder`, which is returned.

    Frame k is shown at `stamps[k]`, the last one for `last`, in units of `unit` seconds. A piece's own time stamps only
    say in which order its frames are shown. Raises ItemError unless there are as many frames as stamps.
    """
    order = _order(pieces)
    if len(order) != len(stamps):
        raise ItemError(f"frames were lost: {len(stamps)} to join, {len(order)} encoded")
    spans = [*(after - before for before, after in pairwise(stamps)), last]
    decoded = decoding_times(stamps, order)
    with opened_piece(pieces[0]) as first, av.open(str(folder / JOINED), "w", options=_timing(unit)) as target:
        stream = target.add_stream_from_template(first.streams.video[0])
        stream.time_base = unit
        for number, packet in enumerate(_all_packets(pieces)):
            place = order[number]
            packet.pts, packet.dts, packet.duration = stamps[place], decoded[number], spans[place]
            packet.time_base, packet.stream = unit, stream
            target.mux(packet)
    return folder / JOINED


def _timing(unit: Fraction) -> dict[str, str]:
    # Otherwise the start is rounded to milliseconds.
    scale = str(unit.denominator)
    return {"fflags": "+bitexact", "movie_timescale": scale, "video_track_timescale": scale}


def _order(pieces: Sequence[Path]) -> list[int]:
    """Which frame of the clip each packet holds, in the order of the packets."""
    order: list[int] = []
    for piece in pieces:
        stamps = [packet.pts for packet in _all_packets([piece])]
        places = {stamp: place for place, stamp in enumerate(sorted(stamps), len(order))}
        order += [places[stamp] for stamp in stamps]
    return order


def _all_packets(pieces: Sequence[Path]) -> Iterator[av.Packet]:
    for piece in pieces:
        with opened_piece(piece) as file:
            yield from _packets(file)


def _packets(file: av.container.InputContainer) -> Iterator[av.Packet]:
    return (packet for packet in file.demux(file.streams.video[0]) if packet.size)


def decoding_times(stamps: Sequence[int], order: Sequence[int]) -> list[int]:
    """When to decode each packet: as late as each is in time, which is `delay` frames before they are shown."""
    delay = max(number - place for number, place in enumerate(order))
    before = [stamps[0] - stamps[min(delay, len(stamps) - 1)] + stamp for stamp in stamps[:delay]]
    return [*before, *stamps][: len(stamps)]


def count(clip: Path) -> int:
    """How many frames a clip's video has, by its packets."""
    with av.open(str(clip)) as file:
        return sum(1 for _ in _packets(file))
