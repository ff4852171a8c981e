"""The frames a clip shows at given times, exactly those, with as little decoding as that takes.

The packets are listed first, which costs no decoding: so it is known which frame is shown when. Then only what
leads to the wanted frames is decoded: from a keyframe on, without pictures that no other needs. A clip whose
packets turn out to say too little is decoded whole.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import av
from _job import BadInput
from _media import Media, open_input

SEEKABLE = ("mov", "matroska")  # formats whose own index is exact
FAR_SECONDS = 5.0  # reading on is as quick as seeking, up to here
SPARING = ("h264",)  # decoders that know surely which pictures no other needs
DAMAGED = "the input is damaged: {}; copy it again from where it came from"

Shown = tuple[int, av.VideoFrame]
"""A wanted stamp, and the frame that is shown then."""


class Missed(Exception):
    """A wanted frame did not come: the packets did not tell all."""


class Packet(NamedTuple):
    """What a packet says before it is decoded; `shown` is False for one that an edit list cuts off."""

    stamp: int
    key: bool
    shown: bool
    length: int


@dataclass(frozen=True)
class Timeline:
    """The packets of a clip in the order they are decoded, from the first keyframe on.

    `stamps` are those of shown frames, in order, `unit` is theirs in seconds, and `seconds` the time from the first to
    the end of the last. `told` is False where packets have no times of their own. A pixel is shown `aspect` times as
    wide as high.
    """

    packets: tuple[Packet, ...]
    stamps: tuple[int, ...]
    unit: float
    seconds: float
    told: bool
    aspect: float

    def at(self, seconds: float) -> int:
        """The stamp of the frame shown at a time, counted from the first one's."""
        # A thousandth more: a frame of 0.9999 s is rounded from one of second 1, in Matroska for one.
        offset = (seconds + 0.001) / self.unit
        return self.stamps[max(0, bisect_right(self.stamps, self.stamps[0] + offset) - 1)]


def timeline(path: Path, media: Media, pixels: int) -> Timeline:
    """List the packets of the video. Raises BadInput when the file is damaged or cut short."""
    with _overheard() as said, open_input(path, pixels) as container:
        stream = container.streams[media.index]
        # AVI knows the order of packets only: what it says of B-frames' times is wrong.
        told, found = container.format.name != "avi", []
        for number, packet in enumerate(_packets(container, stream)):
            told = told and packet.pts is not None
            stamp = packet.pts if told else packet.dts if packet.dts is not None else number
            found.append(Packet(stamp, packet.is_keyframe, not packet.is_discard, packet.duration or 0))
        _check_whole(len(found), media, said)
        return _timeline(found, stream, told)


@contextmanager
def _overheard() -> Iterator[Sequence[tuple[int, str, str]]]:
    """What the demuxer says: the only sign that some files are cut short. A decoder's threads would lock up on it."""
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as said:
            yield said
    finally:
        av.logging.set_level(None)


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except av.error.FFmpegError as error:
        raise BadInput(DAMAGED.format("it cannot be read to its end")) from error


def _check_whole(count: int, media: Media, said: Sequence[tuple[int, str, str]]) -> None:
    what = f"its index lists {media.indexed} frames and {count} are there" if count < media.indexed else ""
    if any("ended prematurely" in message for _, _, message in said):
        what = "it ends in the middle"
    if what:
        raise BadInput(f"the input is cut short: {what}; copy it again from where it came from")


def _timeline(found: Sequence[Packet], stream: av.VideoStream, told: bool) -> Timeline:
    unit, aspect = float(stream.time_base), float(stream.sample_aspect_ratio or 1)
    first = next((place for place, packet in enumerate(found) if packet.key), len(found))
    # What is shown before the first keyframe needs frames that are not there.
    packets = tuple(packet for packet in found[first:] if packet.stamp >= found[first].stamp)
    stamps = sorted({packet.stamp for packet in packets if packet.shown})
    if not stamps:
        raise BadInput(DAMAGED.format("none of its frames can be decoded"))
    span = stamps[-1] - stamps[0]
    last = packets[-1].length or span // max(1, len(stamps) - 1)
    return Timeline(packets, tuple(stamps), unit, (span + last) * unit, told, aspect)


def shown(path: Path, media: Media, pixels: int, line: Timeline, wanted: Sequence[int]) -> Iterator[Shown]:
    """The frame of each wanted stamp, in order; stamps are as `line.at` gives them, each once.

    Raises Missed when it takes `decoded` to have them.
    """
    if not line.told:
        raise Missed
    rest = list(wanted)
    for frame in _sparse(path, media, pixels, line, wanted):
        if frame.is_corrupt:  # and so may be all that follow from it
            raise Missed
        if rest and frame.pts == rest[0]:
            yield rest.pop(0), frame
    if rest:
        raise Missed


def decoded(path: Path, media: Media, pixels: int, line: Timeline, wanted: Sequence[int]) -> Iterator[Shown]:
    """The same as `shown`, by decoding all. Raises BadInput when a frame cannot be decoded."""
    rest, latest = list(wanted), None
    for stamp, frame in _all(path, media, pixels, line):
        while latest is not None and rest and stamp > rest[0]:
            yield rest.pop(0), latest
        latest = frame
    if latest is None:
        raise BadInput(DAMAGED.format("none of its frames can be decoded"))
    for stamp in rest:
        yield stamp, latest


def _all(path: Path, media: Media, pixels: int, line: Timeline) -> Iterator[Shown]:
    with _decoder(path, media, pixels) as (container, stream):
        number, started = 0, False
        for packet in itertools.chain(_packets(container, stream), [None]):
            started = started or (packet is not None and packet.is_keyframe)
            for frame in _decode(stream, packet, forgive=number == 0) if started else ():
                yield (frame.pts if line.told else line.stamps[min(number, len(line.stamps) - 1)]), frame
                number += 1


def _decode(stream: av.VideoStream, packet: av.Packet | None, forgive: bool) -> list[av.VideoFrame]:
    try:
        frames = stream.codec_context.decode(packet)
    except av.error.FFmpegError as error:
        if forgive:  # recordings begin anywhere
            return []
        raise BadInput(DAMAGED.format("a frame cannot be decoded")) from error
    if any(frame.is_corrupt for frame in frames):
        raise BadInput(DAMAGED.format("a frame can be decoded only in part"))
    return frames


@contextmanager
def _decoder(path: Path, media: Media, pixels: int) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    with open_input(path, pixels) as container:
        stream = container.streams[media.index]
        stream.thread_type = "AUTO"
        # Without this a decoder paints over some damage, and says nothing. There is damage that none can notice.
        stream.codec_context.options = {"err_detect": "explode"}
        yield container, stream


def _sparse(path: Path, media: Media, pixels: int, line: Timeline, wanted: Sequence[int]) -> Iterator[av.VideoFrame]:
    targets = frozenset(wanted)
    with _decoder(path, media, pixels) as (container, stream):
        context, near = stream.codec_context, line.packets[0].stamp
        for first, last in _spans(line, wanted):
            if container.format.name.startswith(SEEKABLE) and (first - near) * line.unit > FAR_SECONDS:
                container.seek(first, stream=stream)
            try:
                for packet in _run(container, stream, first, last):
                    # Pictures that no other needs.
                    spare = context.name in SPARING and packet.pts not in targets
                    context.skip_frame = "NONREF" if spare else "DEFAULT"
                    yield from context.decode(packet)
                yield from context.decode(None)
            except av.error.FFmpegError as error:
                raise Missed from error
            context.flush_buffers()
            near = last


def _run(container: av.container.InputContainer, stream: av.VideoStream, first: int, last: int) -> Iterator[av.Packet]:
    """The packets from keyframe `first` to `last`, in the order of decoding."""
    begun = False
    for packet in _packets(container, stream):
        begun = begun or (packet.pts == first and packet.is_keyframe)
        # What is shown before the keyframe needs frames from before it.
        if begun and packet.pts >= first:
            yield packet
        if begun and packet.pts == last:
            return
    raise Missed


def _spans(line: Timeline, wanted: Sequence[int]) -> list[tuple[int, int]]:
    """First and last stamp, in the order of decoding, of each run of packets that wanted frames need."""
    place = {packet.stamp: number for number, packet in enumerate(line.packets)}
    keys = [number for number, packet in enumerate(line.packets) if packet.key]
    spans: list[list[int]] = []
    for target in sorted(place[stamp] for stamp in wanted):
        stamp = line.packets[target].stamp
        before = keys[: bisect_right(keys, target)]
        first = next(key for key in reversed(before) if line.packets[key].stamp <= stamp)
        if spans and first <= spans[-1][1] + 1:
            spans[-1][1] = max(spans[-1][1], target)
        else:
            spans.append([first, target])
    return [(line.packets[first].stamp, line.packets[last].stamp) for first, last in spans]
