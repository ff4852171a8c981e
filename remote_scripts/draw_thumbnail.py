# /// script
# requires-python = ">=3.11"
# dependencies = ["av==18.1.0", "numpy>=2,<3", "pillow==13.0.0"]
# ///
"""Draw one moment of a clip small, with a line of text below.

limits:  pixels (in a frame), seconds (of a clip)
options: seconds (the moment), label
output:  thumbnail.rgb: WIDTH x HEIGHT pixels, row after row, 3 bytes each
"""

from __future__ import annotations

import sys

import _moments
import _pictures
from _job import Item, Job, Result, run
from _media import probe
from PIL import Image, ImageDraw, ImageFont, ImageOps

WIDTH, HEIGHT, STRIP = 320, 200, 20  # pixels; the strip is the label's, at the bottom
INK, PAPER = "white", "black"


def draw(job: Job, item: Item) -> Result:
    """Draw the moment of one input."""
    sheet = Image.new("RGB", (WIDTH, HEIGHT), PAPER)
    sheet.paste(ImageOps.pad(_picture(job, item), (WIDTH, HEIGHT - STRIP), color=PAPER))
    font = ImageFont.load_default(size=14)
    ImageDraw.Draw(sheet).text((4, HEIGHT - STRIP + 1), item.options["label"], fill=INK, font=font)
    path = item.out / "thumbnail.rgb"
    path.write_bytes(sheet.tobytes())
    return Result((path,))


def _picture(job: Job, item: Item) -> Image.Image:
    pixels = int(job.limits["pixels"])
    if kind := _pictures.still_format(item.input):
        picture = _pictures.still(item.input, kind, pixels)
        return _pictures.fit(picture, picture.size, "")
    media = probe(item.input, pixels, job.limits["seconds"])
    line = _moments.timeline(item.input, media, pixels)
    wanted = [line.at(item.options["seconds"])]
    try:
        ((_, frame),) = _moments.shown(item.input, media, pixels, line, wanted)
    except _moments.Missed:
        ((_, frame),) = _moments.decoded(item.input, media, pixels, line, wanted)
    return _pictures.from_frame(frame, line.aspect, "")


if __name__ == "__main__":
    sys.exit(run(draw))
