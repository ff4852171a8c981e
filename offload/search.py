"""`offload search`: moments in everything tagged so far, by what they show. It asks no network."""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from broker.broker import Broker
from broker.errors import InputError, UsageError
from broker.job import Input
from broker.stop import Stop
from services.base import moments, tagged
from services.base.command import EXIT_CODES
from services.base.moments import Moment
from services.base.progress import say
from services.base.tagged import Tagged
from services.base.text import near, plain
from services.base.through import opened

WIDTH, HEIGHT = 320, 200  # of a thumbnail, as draw_thumbnail.py draws it
COLUMNS = 5


@click.command(help="Find moments in everything tagged so far, or in PATHS, by what they show.", epilog=EXIT_CODES)
@click.argument("text")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(1, 1000), default=5, show_default=True, help="how many moments to tell")
@click.option("--model", metavar="TEXT", help="where the model is now that they were tagged with")
@click.option("--thumbnails", metavar="FILE", type=click.Path(path_type=Path), help="PNG to draw the moments in")
@click.option("--overwrite", is_flag=True, help="replace thumbnails that exist")
@click.option("--json", "as_json", is_flag=True, help="print one JSON document")
def search(
    text: str,
    paths: tuple[Path, ...],
    top: int,
    model: str | None,
    thumbnails: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Print file, second and score of each moment, the best first."""
    if not text.strip():
        raise UsageError("there is nothing to search for", 'offload search "people on a beach"')
    _check_free(thumbnails, overwrite)
    os.environ["OFFLOAD_OFFLINE"] = "1"  # what is searched is here, and so is the model
    with opened() as broker:
        entries, stop = _collect(broker, paths), Stop()
        with stop.on_signals():
            found = moments.search(broker, entries, text, top, model, stop)
            if thumbnails:
                _draw(broker, found, thumbnails, stop)
    if as_json:
        print(json.dumps([_document(moment) for moment in found], indent=2), flush=True)
    else:
        rows = (f"{plain(moment.entry.clip)}\t{moment.seconds:.3f}\t{moment.score:.4f}\n" for moment in found)
        print("".join(rows), end="", flush=True)


def _check_free(path: Path | None, overwrite: bool) -> None:
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise UsageError(f"--thumbnails {path}: it must end in .png")
    if path.exists() and not overwrite:
        raise UsageError(f"{near(path)} exists", "add --overwrite to replace it")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"--thumbnails {path}: there is no such folder", f"mkdir -p {near(path.absolute().parent)}")


def _collect(broker: Broker, paths: Sequence[Path]) -> list[Tagged]:
    found, left = tagged.among(broker, [path.absolute() for path in paths]) if paths else tagged.everything(broker)
    for line in moments.remarks(found, left, near):
        say(line)
    if not found:
        raise InputError(moments.NOTHING, "offload tag clip.mp4")
    return found


def _draw(broker: Broker, found: Sequence[Moment], path: Path, stop: Stop) -> None:
    """Draw the moments, the best first, row by row."""
    with tempfile.TemporaryDirectory() as place:
        drawn = [Path(place) / f"{number}.rgb" for number in range(len(found))]
        inputs = [
            Input(
                moment.entry.clip, {"thumbnail.rgb": dest}, {"seconds": moment.seconds, "label": _label(number, moment)}
            )
            for number, (moment, dest) in enumerate(zip(found, drawn, strict=True), 1)
        ]
        with moments.done(broker, "draw_thumbnail.py", inputs, {}, {}, stop) as items:
            for item in items:
                if item.kind is not None:
                    say(f"{near(item.source)}: no thumbnail: {plain(item.error)}")
        pictures = [file.read_bytes() if file.exists() else bytes(WIDTH * HEIGHT * 3) for file in drawn]
    draft = path.with_name(f".{path.name}.tmp")
    try:
        draft.write_bytes(sheet(pictures))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _label(number: int, moment: Moment) -> str:
    minutes, seconds = divmod(moment.seconds, 60)
    return f"{number}    {minutes:.0f}:{seconds:04.1f}    {moment.score:.3f}"


def sheet(pictures: Sequence[bytes]) -> bytes:
    """A PNG of pictures of one size, RGB, `COLUMNS` to a row."""
    columns, blank = min(COLUMNS, len(pictures)), bytes(WIDTH * HEIGHT * 3)
    rows = [[*pictures[start : start + columns]] for start in range(0, len(pictures), columns)]
    rows[-1] += [blank] * (columns - len(rows[-1]))
    lines = (
        b"\0" + b"".join(picture[line * WIDTH * 3 : (line + 1) * WIDTH * 3] for picture in row)
        for row in rows
        for line in range(HEIGHT)
    )
    size = struct.pack(">IIBBBBB", columns * WIDTH, len(rows) * HEIGHT, 8, 2, 0, 0, 0)  # 8 bits, RGB
    parts = ((b"IHDR", size), (b"IDAT", zlib.compress(b"".join(lines))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _document(moment: Moment) -> dict[str, Any]:
    return {"file": str(moment.entry.clip), "seconds": moment.seconds, "score": moment.score}
