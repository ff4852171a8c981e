"""Sound of a file, whatever holds it: one track of it, as 16 kHz mono, each sample at its time.

The guards are those of `_media`: only plain files of the formats below, and no reference out of them is followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
from _job import BadInput

RATE = 16_000  # samples a second: what whisper hears
FORMATS = "mov,matroska,webm,avi,mpegts,mp3,wav,w64,flac,ogg,aac,aiff,caf"
TAKEN = "mp4, mov, mkv, webm, avi, ts, mp3, m4a, wav, flac, ogg or opus"
STATED = ("matroska", "flac", "wav", "w64", "aiff", "caf")  # formats that say truly how long they are
INDEXED = ("mov", "avi")  # formats whose index lists every packet
GAP = 0.05  # seconds: a smaller difference between time stamps and samples is rounding
SLACK = 1.0  # seconds that a stated length may be wrong
DAMAGE = re.compile(
    r"CRC mismatch|CRC error|filesize and duration do not match|File ended prematurely|Invalid track number"
    r"|as first byte of an EBML number|exceeds containing master"
)
"""What libav says where it steps over what it cannot read, and tells of it in no other way."""


@contextmanager
def open_track(path: Path, pixels: int) -> Iterator[Track]:
    """Open the sound of `path` under the guards; BadInput says in a sentence why it can't be done."""
    head = _head(path)
    if _is_cut_wave(head, path):
        raise _broken("cut short: there is less in it than it says")
    # Pictures are not decoded here, but looking for streams may do so, covers too.
    options = {"protocol_whitelist": "file", "format_whitelist": FORMATS, "max_pixels": str(2 * pixels)}
    with _overheard() as said:
        try:
            container = av.open(f"file:{path}", options=options, metadata_errors="replace")
        except (av.error.FFmpegError, ValueError) as error:
            raise BadInput(_why_unreadable(head)) from error
        with container:
            yield Track(container, said)


@contextmanager
def _overheard() -> Iterator[Sequence[tuple[int, str, str]]]:
    """What libav says. Not for longer than it is listened to: a video decoder's threads would lock up on it."""
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as said:
            yield said
    finally:
        av.logging.set_level(None)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except IsADirectoryError as error:
        raise BadInput("the input is a folder, not a file with sound") from error
    except OSError as error:
        raise BadInput(f"the input cannot be read: {(error.strerror or str(error)).lower()}") from error
    if not head:
        raise BadInput("the input is empty (0 bytes); copy it again from where it came from")
    return head


def _why_unreadable(head: bytes) -> str:
    if head.lstrip().startswith((b"#EXTM3U", b"ffconcat")):
        return "the input is a playlist; give the file with the sound itself"
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") or head.startswith(
        (b"\x1aE\xdf\xa3", b"RIFF", b"fLaC", b"OggS")
    ):
        return str(_broken("damaged or cut short: its index cannot be read"))
    return f"the input is not a file with sound that can be read; give it as {TAKEN}"


class Track:
    """The track to hear: the default one, else the first. Raises BadInput where there is none.

    `said` is where libav's messages go.
    """

    def __init__(self, container: av.container.InputContainer, said: list[tuple[int, str, str]]) -> None:
        self._container, self._said = container, said
        self._stream = _choose(container)
        self._packets = self._frames = 0
        self._lead = self._middle = self._tail = 0  # packets that cannot be decoded: at the start, within, at the end
        self._whole = False  # whether a packet has been decoded
        self._end = 0.0
        self._damage = ""

    @property
    def seconds(self) -> float:
        """How long the file says it is; 0 when it does not."""
        return (self._container.duration or 0) / av.time_base

    @property
    def cut_packet(self) -> bool:
        """Whether its last packet could not be decoded, as happens where a recording is stopped."""
        return self._tail == 1

    def sound(self) -> Iterator[av.AudioFrame]:
        """All of it, as frames of 16 kHz mono (s16), with silence where the file has no sound."""
        return _placed(self._decoded(), (self._container.start_time or 0) / av.time_base, self.seconds)

    def check_whole(self) -> None:
        """After the last frame: raise BadInput if the file is damaged, ends before it should, or held nothing."""
        if self._middle or self._lead > 1 or self._tail > 1:
            lost = self._lead + self._middle + self._tail
            raise _broken(f"damaged: {lost} of its {self._packets} packets of sound cannot be decoded")
        if self._is_short():
            raise _broken(f"cut short: it says it lasts {self.seconds:.1f} s, and it ends before")
        if self._damage:
            raise _broken(f"damaged or cut short ({self._damage})")
        if not self._frames:
            raise BadInput("the input has no sound: there is nothing in its audio track")

    def _is_short(self) -> bool:
        names = self._container.format.name.split(",")
        if set(names) & set(INDEXED):
            return self._packets < len(self._stream.index_entries)
        start = (self._container.start_time or 0) / av.time_base
        return bool(set(names) & set(STATED)) and self._end - start < self.seconds - SLACK

    def _decoded(self) -> Iterator[av.AudioFrame]:
        # All streams are read, since how far the file reaches shows in any of them.
        for packet in self._demuxed():
            if packet.pts is not None:
                self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
            if packet.stream.index == self._stream.index:  # packets that end a stream have no index of their own
                yield from self._decode(packet)

    def _demuxed(self) -> Iterator[av.Packet]:
        try:
            for packet in self._container.demux():
                self._listen()
                yield packet
        except (av.error.FFmpegError, IndexError) as error:  # IndexError: a stream that was not there before
            raise _broken("damaged: it cannot be read to its end") from error
        self._listen()

    def _listen(self) -> None:
        for _, _, message in self._said:
            if DAMAGE.search(message):
                self._damage = self._damage or message.strip()
        self._said.clear()

    def _decode(self, packet: av.Packet) -> list[av.AudioFrame]:
        self._packets += bool(packet.size)
        bad = packet.is_corrupt
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            frames, bad = [], True
        if bad:
            self._tail += 1
        elif frames:
            self._lead, self._middle = (self._lead, self._middle + self._tail) if self._whole else (self._tail, 0)
            self._whole, self._tail = True, 0
        self._frames += len(frames)
        return frames


def _broken(how: str) -> BadInput:
    return BadInput(f"the input is {how}; copy it again from where it came from")


def _is_cut_wave(head: bytes, path: Path) -> bool:
    # Its demuxer takes what is there for all there was. Recorders that stop suddenly leave 0 or the largest number.
    stated = int.from_bytes(head[4:8], "little")
    return head[:4] == b"RIFF" and head[8:12] == b"WAVE" and path.stat().st_size + 1 < stated + 8 < 2**32


def _choose(container: av.container.InputContainer) -> av.AudioStream:
    if not container.streams.audio:
        raise BadInput("the input has no sound: there is no audio track in it")
    best = max(container.streams.audio, key=lambda stream: bool(stream.disposition & av.stream.Disposition.default))
    if best.codec_context is None:
        raise BadInput("the input's audio codec is not known here; convert it to AAC first")
    best.codec_context.thread_count = 1  # or what it says goes where nobody listens
    if best.codec_context.name == "flac":
        best.codec_context.options = {"err_detect": "crccheck+explode"}  # or damage is decoded to noise
    return best


def _placed(frames: Iterable[av.AudioFrame], start: float, length: float) -> Iterator[av.AudioFrame]:
    """`frames`, as 16 kHz mono, each where its time stamp puts it: `start` is the file's own zero, in seconds."""
    written, resampler, shape = 0, None, None
    for frame in frames:
        late = frame.time - start - written / RATE if frame.time is not None else 0.0
        pause = late if late > GAP and written / RATE + late < length + SLACK else 0.0
        if abs(late) > GAP and not pause:
            start += late  # the file's clock was set: what follows goes on where we are
        if pause or shape != _shape(frame):
            rest = _resampled(resampler, None)
            resampler, shape = av.AudioResampler(format="s16", layout="mono", rate=RATE), _shape(frame)
            for piece in (*rest, *_silence(round(pause * RATE) - sum(piece.samples for piece in rest))):
                written += piece.samples
                yield piece
        frame.pts = None
        for piece in _resampled(resampler, frame):
            written += piece.samples
            yield piece
    yield from _resampled(resampler, None)


def _shape(frame: av.AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _resampled(resampler: av.AudioResampler | None, frame: av.AudioFrame | None) -> list[av.AudioFrame]:
    return [piece for piece in resampler.resample(frame) if piece.samples] if resampler else []


def _silence(samples: int) -> Iterator[av.AudioFrame]:
    while samples > 0:
        piece = av.AudioFrame(format="s16", layout="mono", samples=min(samples, RATE))
        piece.sample_rate = RATE
        piece.planes[0].update(bytes(piece.planes[0].buffer_size))
        samples -= piece.samples
        yield piece


class Flac:
    """A FLAC file in the making: the same sound is the same bytes. `seconds` is how much it holds."""

    def __init__(self, path: Path) -> None:
        self._container = av.open(str(path), "w", format="flac", options={"fflags": "+bitexact"})
        self._stream = self._container.add_stream("flac", rate=RATE, layout="mono", format="s16")
        self._stream.codec_context.flags |= av.codec.context.Flags.bitexact
        self._stream.codec_context.thread_count = 1
        self._samples = 0

    def __enter__(self) -> Flac:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    @property
    def seconds(self) -> float:
        """How much has been added."""
        return self._samples / RATE

    def add(self, piece: av.AudioFrame) -> None:
        """Add sound of 16 kHz mono."""
        piece.pts, piece.time_base = self._samples, Fraction(1, RATE)
        self._samples += piece.samples
        self._container.mux(self._stream.encode(piece))

    def end(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode(None))
