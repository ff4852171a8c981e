"""How much work an input is, by its header alone; None where that cannot be told here.

PyAV is not everywhere this program runs, and slow to import: it is loaded when something is to be measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.base.suffixes import PICTURES

UNTOLD = (ImportError, OSError, ValueError, IndexError, TypeError, ArithmeticError, AttributeError)
"""What looking at a header ends in that does not tell; a stream whose codec PyAV lacks has no such attributes."""


@contextmanager
def _opened(source: Path) -> Iterator[Any]:
    import av

    av.logging.set_level(None)
    with av.open(str(source), metadata_errors="ignore") as container:
        yield container


def pixels(source: Path) -> float | None:
    """Pixels of all frames of a clip, or of a picture."""
    try:
        with _opened(source) as container:
            stream = container.streams.video[0]
            frames = 1 if source.suffix.lower() in PICTURES else _frames(container, stream)
            return float(frames * stream.width * stream.height) or None
    except UNTOLD:
        return None  # the script says what is wrong with it


def seconds(source: Path) -> float | None:
    """Seconds of sound of a clip or a recording."""
    try:
        with _opened(source) as container:
            return _seconds(container, container.streams.audio[0]) or None
    except UNTOLD:
        return None


def pictures(source: Path, fps: float | None = None, count: int | None = None) -> float | None:
    """Pictures that are looked at: one of a picture; of a clip `count`, or so many a second."""
    if source.suffix.lower() in PICTURES:
        return 1.0
    if count is not None:
        return float(count)
    try:
        with _opened(source) as container:
            return max(_seconds(container, container.streams.video[0]) * (fps or 1.0), 1.0)
    except UNTOLD:
        return None


def _frames(container: Any, stream: Any) -> float:
    return stream.frames or _seconds(container, stream) * float(stream.average_rate or 0)


def _seconds(container: Any, stream: Any) -> float:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6
