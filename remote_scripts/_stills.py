"""Photos in and out, with all that they have: 16 bits, transparency, grey, colour profile, what the camera noted.

A photo is turned upright. Transparency is enlarged by Lanczos, and not by the network, which would invent edges in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from _job import BadInput, LimitExceeded
from _pictures import still_format
from _png import read_deep, write_deep
from _tiles import Enlarger, in_strips, resized
from PIL import Image, ImageOps

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
LONGEST = {"JPEG": 65_500, "WEBP": 16_383}  # pixels of a side
QUALITY: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 6},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95, "method": 4},
}
BOXED = {b"avif": "AVIF", b"mif1": "HEIF", b"heic": "HEIF", b"heix": "HEIF", b"heim": "HEIF", b"heis": "HEIF"}
"""Pictures in the kind of file that clips are in, by its brand (ISO/IEC 23008-12): as clips, they are of one frame."""
WEBP_BYTES = 40  # of a pixel, that its encoder takes
ORIENTATION = 0x0112  # EXIF 2.3
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Photo:
    """A photo: `colour` (height, width, 3 or, if grey, no third) and `alpha` (height, width) of uint8 or uint16."""

    colour: Any
    alpha: Any | None
    profile: bytes | None
    exif: bytes | None
    note: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.colour.shape[1], self.colour.shape[0]


def picture_format(path: Path) -> str:
    """PIL's name for the kind of picture that a file is, or that of one that is not taken; empty for anything else."""
    with path.open("rb") as file:
        head = file.read(12)
    return BOXED.get(head[8:], "") if head[4:8] == b"ftyp" else still_format(path)


def read(path: Path, kind: str, pixels: int) -> Photo:
    """Read a picture of `kind` (a name of PIL's), upright.

    Raises BadInput when it is damaged, animated or of a kind not taken; LimitExceeded when over `pixels`.
    """
    if kind not in FORMATS.values():
        raise BadInput(f"the input is a picture of a kind not taken here ({kind}); give it as png, jpg or webp")
    Image.MAX_IMAGE_PIXELS = None  # the limit is checked here, before anything is decoded
    try:
        with Image.open(path, formats=(kind,)) as picture:
            _check(picture, pixels)
            deep = read_deep(path) if kind == "PNG" else None
            return _photo(picture) if deep is None else _upright_deep(picture, deep)
    except (OSError, SyntaxError, ValueError, EOFError, av.error.FFmpegError) as error:
        raise BadInput("the input is a picture that is damaged or cut short; copy it again") from error


def _check(picture: Image.Image, limit: int) -> None:
    width, height = picture.size
    if width * height > limit:
        raise LimitExceeded(
            f"the input is a picture of {width}x{height}, over the limit of {limit} pixels;"
            " set OFFLOAD_MAX_PIXELS to allow it"
        )
    # A camera may put a second picture into a photo: a small one, or another eye's. Of the first, none is a frame.
    if picture.format != "MPO" and getattr(picture, "n_frames", 1) > 1:
        raise BadInput("the input is an animated picture; convert it to a video first")


def _note(picture: Image.Image) -> str:
    """What of the picture the result will be without."""
    more = picture.format == "MPO" and "only the first of the pictures in the file is taken"
    printed = picture.mode == "CMYK" and "the picture is for print (CMYK); it is written as RGB, without its profile"
    return "; ".join(filter(None, (more, printed)))


def _photo(picture: Image.Image) -> Photo:
    note, upright = _note(picture), ImageOps.exif_transpose(picture)
    profile, exif = upright.info.get("icc_profile"), _bytes(upright.getexif())
    if upright.mode == "CMYK":
        profile = None
    grey = upright.mode in ("1", "L", "LA", "La")
    if not upright.has_transparency_data:
        return Photo(np.asarray(upright.convert("L" if grey else "RGB")), None, profile, exif, note)
    values = np.asarray(upright.convert("LA" if grey else "RGBA"))
    return Photo(values[..., 0] if grey else values[..., :3], values[..., -1], profile, exif, note)


def _upright_deep(picture: Image.Image, pixels: Any) -> Photo:
    exif = picture.getexif()
    pixels = np.ascontiguousarray(TURNS.get(exif.pop(ORIENTATION, 1), np.asarray)(pixels))
    count = pixels.shape[2]
    colour = pixels[..., 0] if count < 3 else pixels[..., :3]
    alpha = pixels[..., -1] if count in (2, 4) else None
    return Photo(colour, alpha, picture.info.get("icc_profile"), _bytes(exif))


def _bytes(exif: Image.Exif) -> bytes | None:
    return exif.tobytes() if len(exif) else None


# What undoes each orientation.
TURNS: dict[int, Callable[[Any], Any]] = {
    2: lambda whole: whole[:, ::-1],
    3: lambda whole: whole[::-1, ::-1],
    4: lambda whole: whole[::-1],
    5: lambda whole: whole.swapaxes(0, 1),
    6: lambda whole: whole.swapaxes(0, 1)[:, ::-1],
    7: lambda whole: whole.swapaxes(0, 1)[::-1, ::-1],
    8: lambda whole: whole.swapaxes(0, 1)[::-1],
}


def enlarged(photo: Photo, enlarger: Enlarger) -> Generator[float, None, Photo]:
    """The photo, larger, which is returned; yields the share (0-1) that is done. Grey stays grey."""
    size = enlarger.size(*photo.size)
    grey = photo.colour.ndim == 2
    pixels = np.stack([photo.colour] * 3, axis=-1) if grey else photo.colour
    colour = yield from enlarger.steps(pixels, size)
    if grey:
        colour = in_strips(colour, _grey)
    return replace(photo, colour=colour, alpha=None if photo.alpha is None else resized(photo.alpha, size))


def _grey(colour: Any) -> Any:
    return (colour @ np.array(LUMA, np.float32)).round().astype(colour.dtype)


def check_target(suffix: str, photo: Photo, size: tuple[int, int]) -> str:
    """What a file that ends in `suffix` loses of the photo, in a sentence, or nothing. Raises BadInput if too much."""
    if suffix not in FORMATS:
        raise BadInput(f"the input is a picture, which a {suffix} file does not hold; use -o with a name in .png")
    kind = FORMATS[suffix]
    if kind == "JPEG" and photo.alpha is not None:
        raise BadInput("the input is transparent in places, which a JPEG cannot be; use -o with a name in .png")
    if max(size) > LONGEST.get(kind, max(size)):
        raise BadInput(f"a {suffix} file cannot hold {size[0]}x{size[1]} pixels; use -o with a name in .png")
    return f"16 bits are cut to 8, all that a {suffix} file holds" if _is_deep(photo) and kind != "PNG" else ""


def memory(photo: Photo, enlarger: Enlarger, suffix: str) -> float:
    """About how many bytes it takes to enlarge a photo, and to write it to a file that ends in `suffix`."""
    writer = math.prod(enlarger.size(*photo.size)) * WEBP_BYTES if suffix == ".webp" else 0
    return enlarger.memory(*photo.size, deep=_is_deep(photo)) + writer


def write(photo: Photo, path: Path) -> Path:
    """Write the photo as its name's suffix says. Returns `path`."""
    kind = FORMATS[path.suffix]
    if _is_deep(photo) and kind == "PNG":
        write_deep(path, photo.colour, photo.alpha, photo.profile, photo.exif)
        return path
    notes = {"icc_profile": photo.profile, "exif": photo.exif}
    picture = Image.fromarray(_shallow(photo.colour))
    if photo.alpha is not None:
        picture.putalpha(Image.fromarray(_shallow(photo.alpha)))
    picture.save(path, kind, **QUALITY[kind], **{name: note for name, note in notes.items() if note})
    return path


def _is_deep(photo: Photo) -> bool:
    return bool(photo.colour.dtype == np.uint16)


def _shallow(values: Any) -> Any:
    return values if values.dtype == np.uint8 else in_strips(values, _cut_to_8)


def _cut_to_8(values: Any) -> Any:
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
