"""Cut into segments, the first pass sees exactly what it sees of the whole: the same .trf, byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests import media

from .runs import LIMITS, PARAMS, part

SECONDS = 3.6
GOP = ("-c:v", "libx264", "-preset", "veryfast", "-g", "24", "-bf", "3")
HIDING = ("-deadline", "good", "-cpu-used", "5", "-auto-alt-ref", "1", "-lag-in-frames", "20", "-g", "24")
OPEN = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=16:open-gop=1:bframes=3:log-level=error")
VARIABLE = "settb=1/90000,select='mod(n,3)',setpts='PTS+mod(N,3)*0.008/TB'"


def clip(name: str, *video: str, **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return media.clip(folder / name, SECONDS, sound=False, video=video, **options)

    return make


def trimmed(folder: Path) -> Path:
    return media.remux(clip("whole.mp4", *GOP)(folder), folder / "trimmed.mp4", before=("-ss", "0.7"))


def late(folder: Path) -> Path:
    whole, path = media.clip(folder / "whole.mp4", SECONDS, video=GOP), folder / "late.mp4"
    media.ffmpeg("-itsoffset", "0.5", "-i", whole, "-i", whole, "-map", "0:v", "-map", "1:a", "-c", "copy", path)
    return path


CUT: dict[str, Callable[[Path], Path]] = {
    "mp4": clip("clip.mp4", *GOP),
    "mkv": clip("clip.mkv", *GOP),
    "vp9 with hidden frames": clip("vp9.webm", "-c:v", "libvpx-vp9", *HIDING),
    "vp8 with hidden frames": clip("vp8.webm", "-c:v", "libvpx", *HIDING),
    "variable rate": clip(
        "variable.mp4", *GOP, "-vf", VARIABLE, extra=("-fps_mode", "passthrough", "-enc_time_base", "1/90000")
    ),
    "open gop mp4": clip("open.mp4", *OPEN),
    "open gop mkv": clip("open.mkv", *OPEN),
    "open gop h264": clip("open264.mp4", "-c:v", "libx264", "-x264-params", "keyint=24:open-gop=1:bframes=3"),
    "interlaced": clip("interlaced.mkv", "-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-q:v", "3", "-g", "12"),
    "edit list": trimmed,
    "starts late": late,
}


@pytest.mark.parametrize("name", CUT)
def test_the_merged_trf_is_that_of_the_whole(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = CUT[name](tmp_path)
    index, cuts, found = watch(source, tmp_path / "parts", monkeypatch)
    assert len(cuts) >= 2
    whole = detect_whole(source, tmp_path / "whole")
    assert merged(tmp_path / "parts", len(cuts) + 1) == whole.read_bytes()
    assert len(found.times) == whole.read_bytes().count(b"\nFrame ")
    assert found.times == tuple(sorted(set(found.times)))
    assert set(found.times) <= set(index.times)


def watch(source: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any, Any]:
    """Watch a clip in segments of about a second; returns its index, the cuts and what was found."""
    cutting, watching, media_ = part("_cut"), part("_watch"), part("_media")
    for name, value in {"LEAST_SECONDS": 2, "PAIR_SECONDS": 1.6, "SHORTEST_SECONDS": 0.4}.items():
        monkeypatch.setattr(cutting, name, value)
    about = media_.probe(source, LIMITS["pixels"], LIMITS["seconds"])
    index = cutting.read_index(source, about, LIMITS["pixels"])
    cuts = cutting.choose_cuts(index)
    pieces = []
    for number, stretch in enumerate(watching.stretches(index, cuts)):
        place = folder / str(number)
        place.mkdir(parents=True)
        (place / "input").symlink_to(source)
        work = watching.watch(stretch, index, about, PARAMS, LIMITS["pixels"], place)
        pieces.append(returned(work))
    return index, cuts, watching.put_together(pieces, cuts, index)


def returned(work: Any) -> Any:
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def detect_whole(source: Path, folder: Path) -> Path:
    ffmpeg, media_ = part("_ffmpeg"), part("_media")
    folder.mkdir()
    (folder / "input").symlink_to(source)
    about = media_.probe(source, LIMITS["pixels"], LIMITS["seconds"])
    assert list(part("_passes").Pass(ffmpeg.detect(about, PARAMS, LIMITS["pixels"]), folder))
    return folder / "transforms.trf"


def merged(folder: Path, number: int) -> bytes:
    """The segments' .trf files as one: every first frame but the clip's own is left out, and frames are counted on."""
    files = [(folder / f"{place}/transforms.trf").read_bytes().splitlines(keepends=True) for place in range(number)]
    head = [line for line in files[0] if not line.startswith(b"Frame ")]
    frames = [[line for line in file if line.startswith(b"Frame ")] for file in files]
    lines = [line for place, own in enumerate(frames) for line in own[place > 0 :]]
    return b"".join(head) + b"".join(
        re.sub(rb"^Frame \d+", b"Frame %d" % count, line) for count, line in enumerate(lines, 1)
    )


@pytest.mark.parametrize("name", ["clip.ts", "clip.avi", "raw.h264.mkv"])
def test_what_was_not_measured_to_be_exact_is_not_cut(name: str, tmp_path: Path) -> None:
    video = ("-c:v", "mpeg4", "-bf", "2") if name.endswith("avi") else GOP
    source = media.clip(tmp_path / name, SECONDS, sound=False, video=video, extra=("-live", "1") * name.endswith("mkv"))
    about = part("_media").probe(source, LIMITS["pixels"], LIMITS["seconds"])
    assert part("_cut").read_index(source, about, LIMITS["pixels"]) is None


def test_frames_shown_at_one_time_are_not_cut(tmp_path: Path) -> None:
    twice = "setpts='(N-eq(mod(N,5),1))*0.04/TB'"
    own = ("-fps_mode", "passthrough", "-enc_time_base", "1/90000")
    source = media.clip(tmp_path / "twice.mp4", SECONDS, sound=False, video=(*GOP, "-vf", twice), extra=own)
    about = part("_media").probe(source, LIMITS["pixels"], LIMITS["seconds"])
    assert part("_cut").read_index(source, about, LIMITS["pixels"]) is None


def test_segments_that_saw_different_frames_at_a_cut_are_not_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, cuts, _ = watch(CUT["mp4"](tmp_path), tmp_path / "parts", monkeypatch)
    pieces = [tmp_path / f"parts/{number}/watched.json" for number in range(len(cuts) + 1)]
    seam = re.search(rf'"{cuts[0]}": "(0x\w+)"', pieces[1].read_text())
    assert seam
    pieces[1].write_text(pieces[1].read_text().replace(seam[1], "0x00000001"))
    with pytest.raises(part("_watch").Unseamly):
        part("_watch").put_together(pieces, cuts, index)


def index_of(seconds: float, every: int) -> Any:
    """The index of a clip at 25 frames a second with a keyframe in `every`."""
    from fractions import Fraction

    times = tuple(range(round(seconds * 25)))
    return part("_cut").Index(len(times), times, times[::every], Fraction(1, 25), 0, 1)


@pytest.mark.parametrize(("seconds", "number"), [(1, 1), (15.9, 1), (16.1, 2), (30, 2), (61, 4), (120, 6), (600, 30)])
def test_segments_are_ten_to_thirty_seconds_and_even_in_number(seconds: float, number: int) -> None:
    cuts = part("_cut").choose_cuts(index_of(seconds, 25))
    assert len(cuts) == number - 1
    edges = [0, *cuts, round(seconds * 25)]
    assert number == 1 or all(7 * 25 <= b - a <= 31 * 25 for a, b in pairwise(edges))


@pytest.mark.parametrize("stretch", [(0, None), (0, 1), (7, 300), (499, None), (498, 600)])
def test_the_frames_of_a_stretch_are_counted_by_when_they_are_shown(stretch: tuple[int, int | None]) -> None:
    first, stop = stretch
    index = index_of(20, 25)
    expected = [time for time in index.times if first <= time and (stop is None or time < stop)]
    assert index.count(part("_cut").Stretch(first, stop, None)) == len(expected)


def test_cuts_lie_at_keyframes_and_nowhere_else() -> None:
    index = index_of(120, 250)
    assert part("_cut").choose_cuts(index)
    assert set(part("_cut").choose_cuts(index)) <= set(index.keys)
    assert part("_cut").choose_cuts(index_of(120, 10_000)) == ()
