"""Encoded segments become one clip: their packets in a row, unchanged, with one continuous clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import _cut
import av
from _job import ItemError


def join(pieces: Sequence[Path], index: _cut.Index, times: Sequence[int], target: Path) -> None:
    """Write the video of all pieces to `target` (QuickTime), with `times` counted from where the clip's file begins.

    Raises ItemError when the pieces are not of one encoder, or not the frames of `times`.
    """
    shown = [time for time, _ in _packets(pieces, index)]
    if sorted(shown) != list(times):
        raise ItemError(f"frames were lost: {len(times)} to join, {len(shown)} encoded")
    clock, spans = decoding_times(shown), dict(zip(times, _spans(times, index), strict=True))
    with av.open(str(pieces[0])) as first, av.open(str(target), "w", format="mov", options=_timing(index)) as file:
        stream = file.add_stream_from_template(first.streams.video[0])
        stream.time_base = index.tick
        for (time, packet), decoded in zip(_packets(pieces, index), clock, strict=True):
            packet.time_base, packet.duration = index.tick, spans[time]
            packet.pts, packet.dts = time - index.begins, decoded - index.begins
            packet.stream = stream
            file.mux(packet)


def _timing(index: _cut.Index) -> dict[str, str]:
    # Otherwise the start is rounded to milliseconds.
    scale = str(index.tick.denominator)
    return {"movie_timescale": scale, "video_track_timescale": scale}


def _spans(times: Sequence[int], index: _cut.Index) -> Iterator[int]:
    yield from (after - before for before, after in pairwise(times))
    yield index.last


def _packets(pieces: Sequence[Path], index: _cut.Index) -> Iterator[tuple[int, av.Packet]]:
    """Every packet and when it is shown. A piece's own clock begins with its first frame, which its name tells."""
    header = None
    for piece in pieces:
        with av.open(str(piece)) as file:
            own = file.streams.video[0].codec_context.extradata
            if header not in (None, own):
                raise ItemError("the segments were not encoded alike")
            header = own
            start = int(file.metadata["title"])
            yield from ((start + _ticks(packet, index), packet) for packet in file.demux(video=0) if packet.size)


def _ticks(packet: av.Packet, index: _cut.Index) -> int:
    # NUT counts in a unit of its own choice.
    return round((packet.pts or 0) * packet.time_base / index.tick)


def decoding_times(shown: Sequence[int]) -> list[int]:
    """When to decode frames that are shown at `shown`, in the order of the stream: as late as each is in time."""
    times = sorted(shown)
    delay = max(number - place for number, place in _places(times, shown))
    ahead = [times[0] - (times[min(delay, len(times) - 1)] - times[place]) for place in range(delay)]
    return [*ahead, *times][: len(times)]


def _places(times: Sequence[int], shown: Sequence[int]) -> Iterator[tuple[int, int]]:
    place = {time: number for number, time in enumerate(times)}
    return ((number, place[time]) for number, time in enumerate(shown))


def count(clip: Path) -> int:
    """How many frames a clip's video has, by its packets."""
    with av.open(str(clip)) as file:
        return sum(packet.size > 0 for packet in file.demux(file.streams.video[0]))
