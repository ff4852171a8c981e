"""Pictures as a model wants them: upright, square pixels, 8-bit sRGB, sized by PIL.

A rule says how large: "384x384" squashes to that; "224" brings the short side to 224 and cuts a square out of the
middle; "" brings the long side to 768 at most. Only the last never enlarges.
"""

from __future__ import annotations

import math
from pathlib import Path

import av
import numpy as np
from _job import BadInput, LimitExceeded
from av.video.reformatter import Interpolation
from PIL import Image, ImageOps

LONG_SIDE = 768
STILLS = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT
"""What makes swscale's RGB the same on every processor."""

BT601, BT709, BT2020 = 5, 1, 9  # swscale's numbers for YUV matrices
UNSPECIFIED = 2  # ITU-T H.273
PQ, HLG = 16, 18  # ITU-T H.273, transfer characteristics
PQ_WHITE = 203 / 10_000  # of the signal's peak: a page of white paper, ITU-R BT.2408
HLG_WHITE = 0.265  # the same, of the scene's peak
KNEE = 0.75  # of white: what is darker stays as it is
TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])  # BT.2087


def still_format(path: Path) -> str:
    """PIL's name for the kind of picture that a file is, by its first bytes; empty for anything else."""
    with path.open("rb") as file:
        head = file.read(16)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in STILLS.items() if head.startswith(magic)), "")


def still(path: Path, kind: str, pixels: int) -> Image.Image:
    """Read a picture of `kind` (of an animated one, the first), upright and without transparency.

    Raises BadInput when it is damaged, LimitExceeded when it has more than `pixels`.
    """
    Image.MAX_IMAGE_PIXELS = None  # the limit is checked here, before anything is decoded
    try:
        with Image.open(path, formats=(kind,)) as picture:
            _check_pixels(picture.size, pixels)
            return _opaque(ImageOps.exif_transpose(picture))
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadInput("the input is a picture that is damaged or cut short; copy it again") from error


def _check_pixels(size: tuple[int, int], limit: int) -> None:
    if math.prod(size) > limit:
        raise LimitExceeded(
            f"the input is a picture of {size[0]}x{size[1]}, over the limit of {limit} pixels;"
            " set OFFLOAD_MAX_PIXELS to allow it"
        )


def _opaque(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16") or picture.mode == "I":  # PIL would cut off what is above 255
        return Image.fromarray((np.asarray(picture) // 257).astype(np.uint8)).convert("RGB")
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    page = Image.new("RGBA", picture.size, "white")
    page.alpha_composite(picture.convert("RGBA"))
    return page.convert("RGB")


def fit(picture: Image.Image, shown: tuple[float, float], rule: str) -> Image.Image:
    """Size a picture that is shown as `shown` (its pixels need not be square)."""
    whole, box = _sizes(shown, rule)
    left, top = (round((length - side) / 2) for length, side in zip(whole, box, strict=True))
    across, down = (have / length for have, length in zip(picture.size, whole, strict=True))
    # What is cut off is not computed: of a picture 1 pixel high it would be gigabytes.
    part = (left * across, top * down, (left + box[0]) * across, (top + box[1]) * down)
    return picture.resize(box, Image.Resampling.BICUBIC, part)


def _sizes(shown: tuple[float, float], rule: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size of the whole picture, and of what is cut out of its middle."""
    width, height = shown
    if "x" in rule:
        across, down = map(int, rule.split("x"))
        return (across, down), (across, down)
    if rule:
        side, short = int(rule), min(shown)
        # Rounded down, as the models' own preprocessors do.
        return (int(side * width / short), int(side * height / short)), (side, side)
    scale = min(1.0, LONG_SIDE / max(shown))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return size, size


def from_frame(frame: av.VideoFrame, aspect: float, rule: str) -> Image.Image:
    """The picture of a video's frame whose pixels are `aspect` times as wide as high, sized by `rule`."""
    shown = frame.width * aspect, float(frame.height)
    turned = frame.rotation % 360
    if turned in (90, 270):
        shown = shown[::-1]
    if frame.color_trc in (PQ, HLG):
        return _tone_mapped(frame, shown, turned, rule)
    picture = _converted(frame, "rgb24").to_image()
    return fit(_upright(picture, turned), shown, rule)


def _converted(frame: av.VideoFrame, layout: str) -> av.VideoFrame:
    matrix = int(frame.colorspace)
    if matrix == UNSPECIFIED:  # as players guess
        matrix = BT709 if frame.width >= 1280 or frame.height > 576 else BT601
    return frame.reformat(format=layout, src_colorspace=matrix, interpolation=EXACT, threads=1)


def _upright(picture: Image.Image, turned: int) -> Image.Image:
    ways = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
    return picture.transpose(ways[turned]) if turned in ways else picture


def _tone_mapped(frame: av.VideoFrame, shown: tuple[float, float], turned: int, rule: str) -> Image.Image:
    """SDR of an HDR frame: white is white, what is brighter is pressed together below it."""
    deep = _converted(frame, "rgb48le").to_ndarray().astype(np.float32) / 65535
    planes = (_upright(Image.fromarray(deep[..., channel]), turned) for channel in range(3))
    signal = np.stack([np.asarray(fit(plane, shown, rule)) for plane in planes], axis=-1).clip(0, 1)
    light = _pq_light(signal) / PQ_WHITE if frame.color_trc == PQ else _hlg_light(signal) / HLG_WHITE
    if frame.color_primaries == BT2020:
        light = (light @ TO_BT709.T).clip(0)
    peak = light.max(axis=-1, keepdims=True).clip(1e-6)
    pressed = np.where(peak < KNEE, peak, 1 - (1 - KNEE) * np.exp((KNEE - peak) / (1 - KNEE)))
    return Image.fromarray((_srgb(light * pressed / peak) * 255).round().astype(np.uint8))


def _pq_light(signal: np.ndarray) -> np.ndarray:
    # SMPTE ST 2084; 1 is 10 000 cd/m2
    root = signal.astype(np.float64) ** (1 / 78.84375)
    return ((root - 0.8359375).clip(0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def _hlg_light(signal: np.ndarray) -> np.ndarray:
    # ARIB STD-B67; 1 is the scene's peak
    bright = (np.exp((signal.astype(np.float64) - 0.55991073) / 0.17883277) + 0.28466892) / 12
    return np.where(signal <= 0.5, signal**2 / 3, bright)


def _srgb(light: np.ndarray) -> np.ndarray:
    # IEC 61966-2-1
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
