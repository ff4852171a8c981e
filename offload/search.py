"""`offload search`: moments in everything tagged so far, by what they show. It asks no network."""

from __future__ import annotations

import json
import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from broker import scripts
from broker.broker import Broker
from broker.errors import InputError, JobFailed, LimitError, MissingHere, OffloadError, UsageError
from broker.job import Input, Item, Request
from broker.models import catalogue
from broker.stop import Stop
from broker.targets import LOCAL
from executors.base import ExecutorError
from offload import tagged
from offload.tagged import LeftOut, Tagged
from services.base.command import EXIT_CODES
from services.base.progress import say
from services.base.text import near, plain
from services.base.through import opened

WIDTH, HEIGHT = 320, 200  # of a thumbnail, as draw_thumbnail.py draws it
COLUMNS = 5
NAMED = 5  # of the files that are left out for one reason
FAILURES = {"bad_input": InputError, "missing": MissingHere, "limit": LimitError, "memory": LimitError}


@dataclass(frozen=True)
class Moment:
    """A second of a clip, and how well it shows what was asked for: a cosine."""

    clip: Path
    seconds: float
    score: float


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
        moments = _search(broker, _collect(broker, paths), text, top, model)
        if thumbnails:
            _draw(broker, moments, thumbnails)
    if as_json:
        print(json.dumps([_document(moment) for moment in moments], indent=2), flush=True)
    else:
        rows = (f"{plain(moment.clip)}\t{moment.seconds:.3f}\t{moment.score:.4f}\n" for moment in moments)
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
    for why, group in groupby(sorted(left, key=_why), key=_why):
        names = [near(one.path) for one in group]
        others = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        say(f"left out, since {why}: {', '.join(names[:NAMED])}{others}")
    if not found:
        raise InputError("nothing that is still there has been tagged", "offload tag clip.mp4")
    return found


def _why(left: LeftOut) -> str:
    return left.why


def _search(broker: Broker, entries: Sequence[Tagged], text: str, top: int, model: str | None) -> list[Moment]:
    """The best moments, over all models that were used."""
    ordered = sorted(entries, key=_by_model)
    groups = [list(group) for _, group in groupby(ordered, key=_by_model)]
    if len(groups) > 1:
        say(f"tagged with {len(groups)} models, whose scores differ by more than what is seen: tag with one")
    moments = [moment for group in groups for moment in _search_one(broker, group, text, top, model)]
    return sorted(moments, key=lambda moment: -moment.score)[:top]


def _by_model(entry: Tagged) -> tuple[str, str]:
    return entry.weights, entry.source


def _search_one(broker: Broker, group: Sequence[Tagged], text: str, top: int, model: str | None) -> Iterator[Moment]:
    """The best moments among those of one model."""
    source = catalogue.find(tagged.SERVICE, model).source if model else group[0].source
    if not source:
        raise UsageError(f"{near(group[0].tags)} does not tell which model made it", "add --model, and its folder")
    with tempfile.TemporaryDirectory() as place:
        wanted, found = Path(place) / "clips.json", Path(place) / "moments.json"
        wanted.write_text(json.dumps([entry.embeddings for entry in group]), "utf-8")
        params = {"text": text, "top": top, "threads": 0}
        with _done(broker, "search.py", [Input(wanted, {found.name: found})], params, {"model": source}) as (item,):
            _check(item)
            for moment in json.loads(found.read_text("utf-8")):
                yield Moment(group[moment["clip"]].clip, moment["seconds"], moment["score"])


@contextmanager
def _done(
    broker: Broker, script: str, inputs: Sequence[Input], params: Mapping[str, Any], models: Mapping[str, str]
) -> Iterator[tuple[Item, ...]]:
    """The items of a job here that is seen through, and leaves nothing behind."""
    request = Request(
        "search",
        scripts.folder() / script,
        params,
        tuple(inputs),
        on=LOCAL,
        models=models,
        contract="close",
        command=("offload", "search"),
    )
    job, stop = broker.submit(request), Stop()
    try:
        with stop.on_signals():
            for _ in broker.drive(job, stop):
                pass
        yield broker.journal.job(job.id).items
    finally:
        # What cannot be tidied up now is listed by `jobs ls`, as any job is.
        with suppress(OffloadError, ExecutorError):
            broker.remove(broker.journal.job(job.id))


def _check(item: Item) -> None:
    if item.kind is not None:
        raise FAILURES.get(item.kind, JobFailed)(item.error or "the script failed", "offload doctor")


def _draw(broker: Broker, moments: Sequence[Moment], path: Path) -> None:
    """Draw the moments, the best first, row by row."""
    with tempfile.TemporaryDirectory() as place:
        drawn = [Path(place) / f"{number}.rgb" for number in range(len(moments))]
        inputs = [
            Input(moment.clip, {"thumbnail.rgb": dest}, {"seconds": moment.seconds, "label": _label(number, moment)})
            for number, (moment, dest) in enumerate(zip(moments, drawn, strict=True), 1)
        ]
        with _done(broker, "draw_thumbnail.py", inputs, {}, {}) as items:
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
    return {"file": str(moment.clip), "seconds": moment.seconds, "score": moment.score}
