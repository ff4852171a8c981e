"""Photos in and out, with all that they have: 16 bits, transparency, grey, colour profile, what the camera noted.

A photo is turned upright. Transparency is enlarged by Lanczos, and not by the network, which would invent edges in it.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from _job import BadInput, LimitExceeded
from _pictures import EXACT
from _tiles import Enlarger, resized
from PIL import Image, ImageOps

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
LONGEST = {"JPEG": 65_500, "WEBP": 16_383}  # pixels of a side
QUALITY: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 6},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95, "method": 4},
}
ORIENTATION = 0x0112  # EXIF 2.3
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
PNG_DEEP = {b"\0": False, b"\2": False, b"\4": True, b"\6": True}  # a PNG's kind of colour: whether it has transparency
PNG_KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels: kind of colour


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
            deep = _deep(path) if kind == "PNG" else None
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
    if getattr(picture, "n_frames", 1) > 1:
        raise BadInput("the input is an animated picture; convert it to a video first")


def _photo(picture: Image.Image) -> Photo:
    upright = ImageOps.exif_transpose(picture)
    profile, exif = upright.info.get("icc_profile"), _bytes(upright.getexif())
    note = ""
    if upright.mode == "CMYK":
        profile, note = None, "the picture is for print (CMYK); it is written as RGB, without its profile"
    if upright.mode.startswith("I"):
        return Photo(np.asarray(upright).astype(np.uint16), None, profile, exif)
    grey = upright.mode in ("1", "L", "LA", "La")
    if not upright.has_transparency_data:
        return Photo(np.asarray(upright.convert("L" if grey else "RGB")), None, profile, exif, note)
    values = np.asarray(upright.convert("LA" if grey else "RGBA"))
    return Photo(values[..., 0] if grey else values[..., :3], values[..., -1], profile, exif, note)


def _deep(path: Path) -> Any | None:
    """The pixels (height, width, 4) of a PNG of 16 bits that PIL would cut to 8; None of any other."""
    with path.open("rb") as file:
        head = file.read(26)
    if head[24:25] != b"\x10" or head[25:26] == b"\0":
        return None
    with av.open(f"file:{path}", format="png_pipe", options={"protocol_whitelist": "file"}) as container:
        frame = next(container.decode(video=0))
        return frame.reformat(format="rgba64le", interpolation=EXACT, threads=1).to_ndarray()


def _upright_deep(picture: Image.Image, pixels: Any) -> Photo:
    exif = picture.getexif()
    pixels = TURNS.get(exif.pop(ORIENTATION, 1), np.asarray)(pixels)
    colour = pixels[..., 0] if "L" in picture.mode else pixels[..., :3]
    alpha = np.ascontiguousarray(pixels[..., 3]) if "A" in picture.mode else None
    return Photo(np.ascontiguousarray(colour), alpha, picture.info.get("icc_profile"), _bytes(exif))


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


def enlarged(photo: Photo, enlarger: Enlarger) -> Photo:
    """The photo, larger. Grey stays grey."""
    size = enlarger.size(*photo.size)
    grey = photo.colour.ndim == 2
    pixels = np.stack([photo.colour] * 3, axis=-1) if grey else photo.colour
    colour = enlarger(pixels, size)
    if grey:
        colour = (colour @ np.array(LUMA, np.float32)).round().astype(photo.colour.dtype)
    return replace(photo, colour=colour, alpha=None if photo.alpha is None else resized(photo.alpha, size))


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


def write(photo: Photo, path: Path) -> Path:
    """Write the photo as its name's suffix says. Returns `path`."""
    kind = FORMATS[path.suffix]
    if _is_deep(photo) and kind == "PNG":
        path.write_bytes(_deep_png(photo))
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
    return values if values.dtype == np.uint8 else ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _deep_png(photo: Photo) -> bytes:
    """A PNG of 16 bits, by the book (ISO/IEC 15948): PIL writes none in colour."""
    channels = [np.atleast_3d(photo.colour)] + ([photo.alpha[..., None]] if photo.alpha is not None else [])
    pixels = np.concatenate(channels, axis=2).astype(">u2")
    height, width, count = pixels.shape
    rows = pixels.reshape(height, -1).view(np.uint8)
    # Each row as its difference to the one above: filter 2.
    lines = np.diff(rows, axis=0, prepend=np.zeros((1, rows.shape[1]), np.uint8))
    lines = np.concatenate([np.full((height, 1), 2, np.uint8), lines], axis=1)
    target = io.BytesIO()
    target.write(
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, PNG_KINDS[count], 0, 0, 0))
    )
    if photo.profile:
        target.write(_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(photo.profile, 6)))
    if photo.exif:
        target.write(_chunk(b"eXIf", photo.exif.removeprefix(b"Exif\0\0")))
    target.write(_chunk(b"IDAT", zlib.compress(lines.tobytes(), 6)) + _chunk(b"IEND", b""))
    return target.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
