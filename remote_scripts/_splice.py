"""The joined picture of a clip, with the input's sound and other tracks beside it."""

from __future__ import annotations

from fractions import Fraction

import _ffmpeg
import _film
from _ffmpeg import Tracks
from _join import JOINED
from _media import Media


def assemble(media: Media, tracks: Tracks, pixels: int, start: Fraction, rate: Fraction, target: str) -> list[str]:
    """Arguments for ffmpeg to put `JOINED`, from `start` (seconds) on, and the input's other tracks into `target`.

    `rate` is of frames a second; only Matroska says it.
    """
    picture = ["-itsoffset", f"{float(start):.6f}", *_film.opened(JOINED, pixels)]
    maps = ["-map", "1:0", *_film.mapped(tracks)]
    # Said for one track, it must be said for all.
    says = (f"-map_metadata:s:{place} 0:s:{index}" for place, index in enumerate((media.index, *tracks.kept)))
    options = {"c:v:0": "copy", "format": _ffmpeg.MUXERS[tracks.container], "fflags": "+bitexact", **tracks.options}
    if tracks.container == "mkv":  # the times of the others would be rounded to it
        options["r:v:0"] = str(rate)
    written = [word for name, value in options.items() for word in (f"-{name}", value)]
    notes = ["-map_metadata", "0", "-map_chapters", "0", *" ".join(says).split()]
    # The input's own picture goes nowhere; but it counts for when the input starts.
    unused = ["-map", f"0:{media.index}", "-c", "copy", "-f", "null", "-"]
    return [*_film.command(pixels), *picture, *maps, *notes, *written, f"file:{target}", *unused]
