"""Both passes over a clip that is cut into segments, several at once, each finished one a checkpoint.

Every segment is watched; the camera's path is summed up and smoothed once, over the whole clip; every segment is
encoded along that path; the joints of the second pass are its own, for they may not lie where a border is bare.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import astuple, dataclass
from itertools import compress
from operator import mul
from pathlib import Path
from typing import Any

import _camera
import _commands
import _cut
import _encode
import _ffmpeg
import _join
import _passes
import _watch
from _job import BadInput, Item, ItemError, Job, LimitExceeded, Missing
from _media import Media
from _segments import Do, Owns, Segment, hands, usable, work_through

SCHEME = 3  # counted up when the same names would mean other pieces
WORKER_BYTES = 60e6  # what a worker takes, and for each pixel of a frame; by measure (400 MB at 1920x1080, medium)
PIXEL_BYTES = {
    "ultrafast": 60,
    "superfast": 105,
    "veryfast": 125,
    "faster": 160,
    "fast": 165,
    "medium": 165,
    "slow": 180,
    "slower": 200,
    "veryslow": 300,
}
JOINED = 0.97  # of the time, when the last segment is encoded

Progress = Callable[[float, float], None]  # told the share that is done, and how much of it an earlier attempt did


def bytes_each(preset: str, pixels: int) -> float:
    """What a worker takes that encodes frames of so many pixels."""
    return WORKER_BYTES + PIXEL_BYTES[preset] * pixels


class InOnePiece(Exception):
    """The clip cannot be done in segments; the message says why."""


@dataclass(frozen=True)
class Found:
    """What the first pass found of a clip."""

    watched: _watch.Watched
    filmed: _camera.CameraPath


class Segmented:
    """A clip's work, cut up. `folder` is the item's own, with `input` in it."""

    def __init__(self, job: Job, item: Item, media: Media, index: _cut.Index, folder: Path) -> None:
        self._job, self._item, self._media, self._index, self._folder = job, item, media, index, folder.absolute()
        self._pixels = int(job.limits["pixels"])

    def watch(self, progress: Progress) -> Found:
        """The first pass; InOnePiece when its segments do not fit together."""
        cuts = _cut.choose_cuts(self._index)
        parts = _watch.stretches(self._index, cuts)

        def do(segment: Segment, folder: Path) -> Generator[float, None, Path]:
            self._link(folder)
            return _watch.watch(parts[segment.number], self._index, self._media, self._job.params, self._pixels, folder)

        def owns(segment: Segment, piece: Path) -> bool:
            return _watch.is_piece(piece)

        fast = bool(self._job.params.get("fast"))
        names = self._names("watch", [self._job.params["shakiness"], fast, cuts, self._index.packets], len(parts))
        try:
            pieces = self._through(names, do, owns, progress, [1 + self._index.count(part) for part in parts])
            watched = _watch.put_together(pieces, cuts, self._index)
        except (BadInput, LimitExceeded, Missing):
            raise
        except (ItemError, _watch.Unseamly) as error:
            raise InOnePiece(str(error)) from error
        motions = self._folder / _ffmpeg.MOTIONS
        lines = _watch.enlarge(watched.motions, self._media) if fast else watched.motions
        motions.write_text("".join(f"{line}\n" for line in lines), "ascii")
        return Found(watched, _camera.read_path(motions))

    def encode(
        self, found: Found, steady: _camera.CameraPath, zoom: float, tracks: _ffmpeg.Tracks, progress: Progress
    ) -> Path:
        """The second pass; returns the finished clip, in the item's folder. InOnePiece when it can't look the same."""
        times, params = found.watched.times, self._job.params
        path = _camera.corrections(found.filmed, steady)
        clean = [_camera.covers(one, zoom, self._media.width, self._media.height) for one in path]
        runs = _encode.choose_runs(self._index, times, clean)
        look = _encode.look(self._media, params, self._pixels, self._folder)
        header = _encode.header(look, self._index, params)
        if not _encode.is_matched(header, look):
            raise InOnePiece("its header would differ from that of a clip encoded in one piece")

        def do(segment: Segment, folder: Path) -> Generator[float, None, Path]:
            self._link(folder)
            run = runs[segment.number]
            _encode.write_path(path[run.first : run.end], folder / _ffmpeg.TRANSFORMS)
            arguments = _commands.warp_stretch(self._media, self._index, run.stretch, zoom, self._pixels)
            encoder = _encode.Encoder(folder / "piece.nut", run, times, self._index, look, params)
            for tick in _encode.Encoding(arguments, folder, encoder):
                yield tick.frame / (run.end - run.first)
            encoder.finish()
            return folder / "piece.nut"

        settings = [[astuple(one) for one in path], zoom, times, _encode.options(params), _encode.BEYOND, len(runs)]

        def owns(segment: Segment, piece: Path) -> bool:
            run = runs[segment.number]
            return _join.is_piece(piece, header, run.stop - run.first)

        names = self._names("encode", settings, len(runs))
        weights = [run.end - run.first for run in runs]

        def tell(*shares: float) -> None:
            progress(*(share * JOINED for share in shares))

        pieces = self._through(names, do, owns, tell, weights)
        return self._join(pieces, times, look, tracks)

    def _join(self, pieces: Sequence[Path], times: Sequence[int], look: _encode.Look, tracks: _ffmpeg.Tracks) -> Path:
        stamps = [time - self._index.begins for time in times]
        joined = _join.join(pieces, stamps, self._index.last, self._index.tick, self._folder)
        target = f"stabilized.{tracks.container}"
        finish = _commands.Finish(look.rate, look.disposition, look.range)
        arguments = _commands.mux(self._media, self._pixels, tracks, finish, joined.name, target)
        for _ in _passes.Pass(arguments, self._folder):
            pass
        joined.unlink()
        written = _join.count(self._folder / target)
        if written != len(times):
            raise ItemError(f"frames were lost: {len(times)} encoded, {written} written")
        return self._folder / target

    def _through(
        self, names: Sequence[str], do: Do, owns: Owns, progress: Progress, weights: Sequence[int]
    ) -> list[Path]:
        segments = [Segment(number, name) for number, name in enumerate(names)]
        item = usable(self._job, self._item, segments, owns)
        shares = [0.0] * len(names)
        found = [name in item.checkpoints for name in names]

        def tell(number: int, share: float) -> None:
            shares[number] = share
            done = list(map(mul, shares, weights))
            progress(sum(done) / sum(weights), sum(compress(done, found)) / sum(weights))

        each = bytes_each(self._job.params["preset"], self._media.width * self._media.height)
        return work_through(self._job, item, segments, do, hands(each), tell)

    def _names(self, stage: str, settings: Any, number: int) -> list[str]:
        told = json.dumps([SCHEME, stage, self._job.params["to_sdr"], settings])
        digest = hashlib.sha256(told.encode()).hexdigest()[:16]
        return [f"{stage}-{place:04}-{digest}" for place in range(number)]

    def _link(self, folder: Path) -> None:
        (folder / _ffmpeg.SOURCE).symlink_to(self._item.input.absolute())
