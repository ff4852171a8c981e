"""What scripts that make a clip of a clip share: a place to work in, and what is checked and told of the input."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import _ffmpeg
import _passes
from _job import BadInput, Item, LimitExceeded
from _media import Media

SAME_PICTURE = ("yuv420p", "yuvj420p", "nv12", "nv21", "gray")  # what yuv420p holds without loss

AVI_SLACK = 8  # some programs count the eight bytes that say the length, too
UNKNOWN = 0xFFFFFFFF  # said of a length that could not be filled in at the end


@contextmanager
def workplace(item: Item) -> Iterator[Path]:
    """A folder of the item's own, where the input has a fixed name; gone when the item is done."""
    folder = Path("work") / str(item.index)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        (folder / _ffmpeg.SOURCE).symlink_to(item.input.absolute())
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another item's folder is still in there
            folder.parent.rmdir()


def check_colour(media: Media, to_sdr: bool) -> None:
    """Raise BadInput for a picture that 8 bits of SDR cannot hold, unless it is to be converted and can be."""
    if media.hdr and not to_sdr:
        raise BadInput(f"the input is {media.hdr}, more than the 8-bit result can hold; add --to-sdr to convert it")
    if media.dolby_vision:
        raise BadInput("the input is Dolby Vision without an HDR10 picture inside, which cannot be converted here")


def check_room(folder: Path, needed: float) -> None:
    """Raise LimitExceeded when the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise LimitExceeded(
            f"the disk where the job runs has {free / 1e6:.0f} MB free and the job needs about {needed / 1e6:.0f} MB"
        )


def check_length(path: Path) -> None:
    """Raise BadInput when an AVI is shorter than it says: with its end it lost the index that would tell."""
    length, said = path.stat().st_size, _length_said(path)
    if said > length + AVI_SLACK:
        raise BadInput(
            f"the input is cut short: it says that it has {said} bytes, and {length} are there;"
            " copy it again from where it came from"
        )


def _length_said(path: Path) -> int:
    """How many bytes an AVI says that it has; 0 for what is none, or does not tell. A large one is several in a row."""
    end = 0
    with path.open("rb") as file:
        while (head := file.read(8))[:4] == b"RIFF" and len(head) == 8:
            size = struct.unpack("<4xI", head)[0]
            if size == UNKNOWN:
                return 0
            end += 8 + size + size % 2
            file.seek(end)
    return end


def check_whole(media: Media, tally: _passes.Tally) -> None:
    """Raise BadInput when what a pass over the clip counted tells that it is damaged or cut short."""
    again = "copy it again from where it came from"
    if tally.packets < media.indexed:
        raise BadInput(
            f"the input is cut short: its index lists {media.indexed} frames and {tally.packets} are there; {again}"
        )
    if tally.errors > media.lead:
        raise BadInput(f"the input is damaged: {tally.errors} of its {tally.packets} frames cannot be decoded; {again}")
    if tally.damage:
        raise BadInput(f"the input is damaged or cut short ({tally.damage}); {again}")


def notes(media: Media, done: str) -> Iterator[str]:
    """What a person should hear of the input; `done` says what is being done to it."""
    if media.lead:
        yield f"the input starts between keyframes: its first {media.lead} frames cannot be decoded and are left out"
    if media.interlaced:
        yield f"the input is interlaced; it is {done} as it is, so deinterlace it first for a cleaner picture"
    if media.cut_packet:
        yield "the input ends in the middle of a packet: what followed was lost before it came here"
    if media.hdr:
        yield f"converted from {media.hdr} to 8-bit SDR"
    elif media.pix_fmt not in SAME_PICTURE:
        yield f"the picture is written as yuv420p (4:2:0, no transparency); the input has {media.pix_fmt}"
