"""What the input is, read with PyAV before any work is done.

Nothing in here or in ffmpeg may follow a reference out of the input: only plain files, only the formats
below (so that a playlist named `clip.mp4` is refused instead of opened), no picture above the limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
from _job import BadInput, LimitExceeded

FORMATS = "mov,matroska,webm,avi,mpegts"
TAKEN = "mp4, mov, mkv, webm, avi or ts"
HDR_TRANSFERS = {16: "HDR (PQ)", 18: "HDR (HLG)"}  # ITU-T H.273, transfer characteristics
UNSPECIFIED = 2  # H.273, for all three
DECODER_THREADS = "1"  # what it makes of a missing reference depends on how many there are, and each holds frames
DOLBY_VISION_TAGS = ("dvh1", "dvhe", "dva1", "dvav")


@dataclass(frozen=True)
class Track:
    """One stream beside the video. `kind` is audio, subtitle, cover, video, attachment or data."""

    index: int
    kind: str
    codec: str
    title: str


@dataclass(frozen=True)
class Media:
    """The input: its video stream, and what else is in the file.

    `width` and `height` are as shown (rotation applied) and even; `frames` is an estimate;
    `indexed` is how many video packets the container's index lists (0: it has none);
    `lead` counts packets before the first keyframe; `depth` is bits per component.
    """

    index: int
    width: int
    height: int
    seconds: float
    frames: int
    indexed: int
    lead: int
    depth: int
    pix_fmt: str
    transfer: int
    codec_tag: str
    primaries: int
    interlaced: bool
    cut_packet: bool
    tracks: tuple[Track, ...]

    @property
    def hdr(self) -> str:
        """Why 8 bits of SDR can't hold this picture; empty when they can."""
        return HDR_TRANSFERS.get(self.transfer, f"{self.depth}-bit" if self.depth > 8 else "")

    @property
    def rgb(self) -> bool:
        """Whether the picture is RGB, so that it has no YUV matrix to keep."""
        return self.pix_fmt.startswith(("rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8"))

    @property
    def dolby_vision(self) -> bool:
        """Whether the picture means nothing to a player without Dolby Vision."""
        return self.codec_tag in DOLBY_VISION_TAGS


def guards(pixels: int) -> dict[str, str]:
    """The options that must precede every input, here and on ffmpeg's command line."""
    return {
        "protocol_whitelist": "file",
        "format_whitelist": FORMATS,
        "max_pixels": str(2 * pixels),  # loose: codecs round sizes up to whole blocks. `probe` checks the exact limit
        "threads": DECODER_THREADS,
    }


def probe(path: Path, pixels: int, seconds: float) -> Media:
    """Read what the file at `path` is, decoding one frame.

    Raises BadInput when it is not a video that can be stabilised, LimitExceeded when it has more than
    `pixels` in a frame or lasts longer than `seconds`.
    """
    _check_file(path)
    with open_input(path, pixels) as container:
        stream = _video_stream(container)
        _check_pixels(stream.codec_context, pixels)
        length = _seconds(container, stream)
        check_seconds(length, seconds)
        indexed = _indexed(container, stream)
        frame, lead = _first_frame(container, stream)
        return _media(container, stream, frame, length, indexed, lead)


@contextmanager
def open_input(path: Path, pixels: int) -> Iterator[av.container.InputContainer]:
    """Open `path` for reading under the guards; BadInput says in a sentence why it can't be opened."""
    try:
        container = av.open(f"file:{path}", options=guards(pixels), metadata_errors="replace")
    except (av.error.FFmpegError, ValueError) as error:
        raise BadInput(_why_unreadable(path)) from error
    with container:
        yield container


def check_seconds(length: float, limit: float) -> None:
    """Raise LimitExceeded when a clip of `length` seconds is over `limit`."""
    if length > limit:
        raise LimitExceeded(
            f"the input lasts {length:.0f} s, over the limit of {limit:.0f} s; set OFFLOAD_MAX_SECONDS to allow it"
        )


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except IsADirectoryError as error:
        raise BadInput("the input is a folder, not a video file") from error
    except OSError as error:
        raise BadInput(f"the input cannot be read: {(error.strerror or str(error)).lower()}") from error
    if empty:
        raise BadInput("the input is empty (0 bytes); copy it again from where it came from")


def _why_unreadable(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4096)
    if head.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")) or head[8:12] == b"WEBP":
        return "the input is a still image, not a video"
    if head.lstrip().startswith((b"#EXTM3U", b"ffconcat")):
        return "the input is a playlist, not a video; give the video file itself"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") or head.startswith((b"\x1aE\xdf\xa3", b"RIFF")):
        return "the input is damaged or cut short: its index cannot be read; copy it again from where it came from"
    return f"the input is not a video file that can be read; give it as {TAKEN}"


def _video_stream(container: av.container.InputContainer) -> av.VideoStream:
    real = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not real:
        what = "only sound" if container.streams.audio else "nothing that can be seen"
        raise BadInput(f"the input has no video stream, {what}")
    best = max(real, key=lambda stream: bool(stream.disposition & av.stream.Disposition.default))
    if best.codec_context is None:
        raise BadInput("the input's video codec is not known here; convert it to H.264 first")
    return best


def _is_cover(stream: av.VideoStream) -> bool:
    flags = av.stream.Disposition.attached_pic | av.stream.Disposition.still_image
    return bool(stream.disposition & flags)


def _check_pixels(context: av.VideoCodecContext, limit: int) -> None:
    if context.width * context.height > limit:
        raise LimitExceeded(
            f"the input's frames of {context.width}x{context.height} are over the limit of {limit} pixels;"
            " set OFFLOAD_MAX_PIXELS to allow them"
        )


def _seconds(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def _indexed(container: av.container.InputContainer, stream: av.VideoStream) -> int:
    # Matroska's index lists keyframes only; the index of MP4 and AVI lists every packet, after edit lists.
    return 0 if "matroska" in container.format.name else len(stream.index_entries)


def _first_frame(container: av.container.InputContainer, stream: av.VideoStream) -> tuple[av.VideoFrame, int]:
    """The first frame that decodes, and how many packets come before the first keyframe."""
    lead, seen_key = 0, False
    for packet in container.demux(stream):
        seen_key = seen_key or packet.is_keyframe
        lead += 0 if seen_key or packet.size == 0 else 1
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            continue
        if frames:
            return frames[0], lead
    raise BadInput("the input is damaged: not one of its frames can be decoded")


def _media(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    frame: av.VideoFrame,
    length: float,
    indexed: int,
    lead: int,
) -> Media:
    turned = frame.rotation % 180 == 90
    width, height = (frame.height, frame.width) if turned else (frame.width, frame.height)
    rate = float(stream.average_rate or 0)
    return Media(
        index=stream.index,
        width=width // 2 * 2,
        height=height // 2 * 2,
        seconds=length,
        frames=indexed or math.ceil(length * rate),
        indexed=indexed,
        lead=lead,
        depth=max(component.bits for component in frame.format.components),
        pix_fmt=frame.format.name,
        transfer=int(frame.color_trc),
        primaries=int(frame.color_primaries),
        codec_tag=_codec_tag(stream.codec_context),
        interlaced=frame.interlaced_frame,
        cut_packet=container.format.name == "mpegts" and _is_cut(container.size),
        tracks=tuple(_tracks(container, stream)),
    )


def _codec_tag(context: av.CodecContext) -> str:
    try:
        return context.codec_tag
    except UnicodeDecodeError:  # AVI's tags are numbers, not letters
        return ""


def _is_cut(size: int) -> bool:
    # Transport packets are 188 bytes, with a time stamp 192, with error correction 204.
    return all(size % length for length in (188, 192, 204))


def _tracks(container: av.container.InputContainer, video: av.VideoStream) -> Iterator[Track]:
    chapters = len(container.chapters())
    for stream in container.streams:
        if stream.index != video.index and not _is_carried_otherwise(stream, chapters):
            yield _track(stream)


def _is_carried_otherwise(stream: av.stream.Stream, chapters: int) -> bool:
    # QuickTime's tracks of chapter names and of time code: kept as chapters and as metadata.
    return stream.type == "data" and ("timecode" in stream.metadata or 0 < stream.frames == chapters)


def _track(stream: av.stream.Stream) -> Track:
    kind = "cover" if isinstance(stream, av.VideoStream) and _is_cover(stream) else stream.type
    codec = stream.codec_context.name if stream.codec_context else "unknown"
    title = stream.metadata.get("title") or stream.metadata.get("filename") or stream.language or ""
    return Track(stream.index, kind, codec, title)
