"""A long clip is steadied in segments: the same bytes however many cores there are, and however often it is killed."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import PictureType

from tests import media

from .runs import Run, job, kinds, packets, part, stabilize, times
from .segmented import command, in_one, in_segments, pieces, run
from .test_stabilize_bytes import held_to

ROOT = Path(__file__).parents[2]
SAMPLE, FOREST = ROOT / "examples/handheld.mp4", ROOT.parent / "shared/data/handheld-forest.mp4"
GOP = ("-c:v", "libx264", "-preset", "veryfast", "-g", "20", "-bf", "3")
PAIR = 1.8  # seconds: four segments of the clip below


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.clip(tmp_path_factory.mktemp("long") / "clip.mp4", 3.6, video=GOP)


@pytest.fixture(scope="session")
def whole(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The clip in four segments, never interrupted."""
    folder = job(tmp_path_factory.mktemp("whole") / "job", clip)
    done = run(folder, command(pair=PAIR))
    assert len(pieces(done, "watch")) == len(pieces(done, "encode")) == 4
    return done


@pytest.mark.parametrize("cores", [1, 2])
def test_bytes_do_not_depend_on_the_number_of_cores(cores: int, clip: Path, whole: Run, tmp_path: Path) -> None:
    done = run(job(tmp_path / "job", clip), command(pair=PAIR, prefix=held_to(cores)))
    assert done.output().read_bytes() == whole.output().read_bytes()


def test_nor_on_how_many_segments_are_at_work(clip: Path, whole: Run, tmp_path: Path) -> None:
    """Seven may be, in both passes, however many cores there are."""
    more = "_segments.cores, _segments.free_memory = lambda: 7, lambda: 1e12"
    count = "_segmented.work_through = lambda *args: print(args[4], file=sys.stderr) or _segments.work_through(*args)"
    words = command(pair=PAIR)
    words[2] = words[2].replace("import _job", f"import _segments, _segmented\n{more}\n{count}\nimport _job")
    done = run(job(tmp_path / "job", clip), words)
    assert done.output().read_bytes() == whole.output().read_bytes()
    assert done.log.splitlines().count("7") == 2


def attempt(folder: Path, clip: Path, kept: dict[str, bytes], stop_after: int | None) -> set[str]:
    """One attempt in a new folder, killed once it told of so many checkpoints; returns what it made, and keeps it.

    One that is to be killed does not come to its end before: it joins no pieces.
    """
    shutil.rmtree(folder, ignore_errors=True)
    job(folder, clip)
    found = folder / "in/checkpoints/0"
    found.mkdir(parents=True)
    for name, content in kept.items():
        (found / name).write_bytes(content)
    words = command(pair=PAIR)
    if stop_after is not None:
        halts = "import _segmented, time; _segmented.Segmented._join = lambda *_: time.sleep(600)"
        words[2] = words[2].replace("import _job", f"{halts}\nimport _job")
    with (folder / "log").open("wb") as log, (folder / "events").open("wb") as events:
        process = subprocess.Popen(words, cwd=folder, stdout=events, stderr=log)
    try:
        while process.poll() is None:
            if stop_after is not None and len(saved(folder)) >= stop_after:
                break
    finally:
        process.kill()
        process.wait()
    made = saved(folder)
    kept |= {name: (folder / "out/0/checkpoints" / name).read_bytes() for name in made}
    return set(made)


def saved(folder: Path) -> list[str]:
    lines = (folder / "events").read_bytes().splitlines(keepends=True)
    events = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [event["name"] for event in events if event["type"] == "checkpoint"]


@pytest.mark.parametrize(
    "number", [*range(5), *(pytest.param(number, marks=pytest.mark.soak) for number in range(5, 40))]
)
def test_killed_again_and_again_it_ends_with_the_same_bytes(
    number: int, clip: Path, whole: Run, tmp_path: Path
) -> None:
    chance = random.Random(number)
    kept: dict[str, bytes] = {}
    while True:
        place = tmp_path / str(len(kept))  # another folder each time, as on another machine
        before = set(kept)
        last = attempt(place, clip, kept, chance.randint(0, 3) if len(kept) < 6 else None)
        assert not last & before, "a finished segment was done again"
        result = place / "out/0/stabilized.mp4"
        if result.exists() and b'"item_done"' in (place / "events").read_bytes():
            break
        assert not result.exists()
    assert sha256(result.read_bytes()).digest() == sha256(whole.output().read_bytes()).digest()
    assert set(kept) == set(pieces(whole))


def test_checkpoints_of_other_settings_are_left_alone(clip: Path, whole: Run, tmp_path: Path) -> None:
    folder = job(tmp_path / "job", clip, smoothing=5)
    shutil.copytree(whole.folder / "out/0/checkpoints", folder / "in/checkpoints/0")
    done = run(folder, command(pair=PAIR))
    assert not pieces(done, "watch")  # the same motions
    assert len(pieces(done, "encode")) == 4
    assert done.output().read_bytes() == in_segments_of(tmp_path / "afresh", clip, smoothing=5).read_bytes()


def test_pieces_that_do_not_fit_are_made_again(clip: Path, whole: Run, tmp_path: Path) -> None:
    """One of another encoder, one of another length, ones that are none: under names that say otherwise."""
    other = run(job(tmp_path / "other", clip, preset="medium"), command(pair=PAIR))
    folder = job(tmp_path / "job", clip)
    found = shutil.copytree(whole.folder / "out/0/checkpoints", folder / "in/checkpoints/0")
    watched, encoded = pieces(whole, "watch"), pieces(whole, "encode")
    (found / watched[1]).write_text('{"times": [1], "motions": [], "seams": {}, "tally": {}}')
    shutil.copy(other.folder / "out/0/checkpoints" / pieces(other, "encode")[0], found / encoded[0])
    shutil.copy(found / encoded[2], found / encoded[1])
    (found / encoded[2]).write_bytes(b"none")
    assert counted(found / encoded[1]) != counted(whole.folder / "out/0/checkpoints" / encoded[1])
    done = run(folder, command(pair=PAIR))
    assert pieces(done) == sorted([watched[1], *encoded[:3]])
    assert "made again: 1" in done.logged()
    assert "made again: 3" in done.logged()
    assert done.output().read_bytes() == whole.output().read_bytes()


def counted(piece: Path) -> int:
    return int(part("_join").count(piece))


def in_segments_of(folder: Path, clip: Path, **options: Any) -> Path:
    return run(job(folder, clip, **options), command(pair=PAIR)).output()


def test_the_frame_before_a_joint_is_one_that_no_later_frame_comes_before(clip: Path, tmp_path: Path) -> None:
    """With B frames, that may need a frame beyond the joint."""
    done = run(job(tmp_path / "job", clip, preset="veryfast"), command(pair=PAIR))
    with av.open(str(done.output())) as container:
        types = [PictureType(frame.pict_type).name for frame in container.decode(video=0)]
    assert "B" in types
    assert [types[joint - 1] + types[joint] for joint in joints(done)] == ["PI"] * 3


def test_nothing_is_left_over_but_checkpoints(whole: Run) -> None:
    assert {path.name for path in whole.folder.iterdir()} == {"job.json", "in", "out"}
    assert {path.name for path in (whole.folder / "out/0").iterdir()} == {"stabilized.mp4", "checkpoints"}


def test_progress_runs_once_from_0_to_1(whole: Run) -> None:
    fractions = [event["fraction"] for event in whole.of("progress")]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert fractions.count(1.0) == 1


def test_what_was_found_counts_as_done_earlier(clip: Path, whole: Run, tmp_path: Path) -> None:
    folder = job(tmp_path / "job", clip)
    shutil.copytree(whole.folder / "out/0/checkpoints", folder / "in/checkpoints/0")
    (folder / "in/checkpoints/0" / pieces(whole, "encode")[-1]).unlink()
    told = run(folder, command(pair=PAIR)).of("progress")
    assert told[0]["speed"] == told[0]["eta"] == 0  # a quarter of the first stage, found at once


def decoded(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            yield frame.to_ndarray(format="gray").astype(np.int32)


def decibels(path: Path, truth: list[np.ndarray]) -> np.ndarray:
    errors = [((frame - true) ** 2).mean() for frame, true in zip(decoded(path), truth, strict=True)]
    return 10 * np.log10(255**2 / np.maximum(errors, 1e-3))


def joints(done: Run) -> list[int]:
    """The numbers of the frames at which a segment of the second pass begins."""
    starts = []
    for name in pieces(done, "encode"):
        with av.open(str(done.folder / "out/0/checkpoints" / name)) as container:
            starts.append(sum(packet.size > 0 for packet in container.demux(video=0)))
    return list(np.cumsum(starts)[:-1])


@pytest.fixture(scope="session")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """A clip in one piece, encoded without loss."""
    return cache(lambda source: in_one(tmp_path_factory.mktemp("exact") / "job", source, crf=0).output())


@pytest.mark.parametrize("source", [SAMPLE, pytest.param(FOREST, marks=pytest.mark.soak)], ids=lambda path: path.stem)
def test_no_joint_is_seen_in_the_picture(source: Path, exact: Callable[[Path], Path], tmp_path: Path) -> None:
    """Within 30 frames of a joint no frame is over 0.5 dB below the worst of one piece, nor is the mean of any eight.

    Frame against frame says nothing: where one has a P frame and the other a B frame, they are 2 dB apart, and so are
    two encodes in one piece with other numbers of threads.
    """
    if not source.exists():
        pytest.skip(f"{source.name} is not here")
    settings = {"crf": 18, "preset": "medium"}
    cut, one = (
        run(job(tmp_path / "cut", source, **settings), command(pair=40)),
        in_one(tmp_path / "one", source, **settings),
    )
    truth = list(decoded(exact(source)))
    ours, theirs = decibels(cut.output(), truth), decibels(one.output(), truth)
    assert len(joints(cut)) == 1
    for joint in joints(cut):
        near = slice(joint - 30, joint + 30)
        assert ours[near].min() > theirs[near].min() - 0.5
        assert np.convolve((ours - theirs)[near], np.ones(8) / 8, "valid").min() > -0.5
    assert ours.mean() > theirs.mean() - 0.1
    assert cut.output().stat().st_size < 1.03 * one.output().stat().st_size


@pytest.mark.parametrize(("name", "zoom"), [("clip", "auto"), ("clip", 12), ("clip", 3), ("handheld", "auto")], ids=str)
def test_the_picture_is_that_of_one_piece_before_the_encoder(
    name: str, zoom: Any, clip: Path, exact: Callable[[Path], Path], tmp_path: Path
) -> None:
    """Encoded without loss, so that what differs is the warp: its path is the whole clip's, on both sides."""
    source = clip if name == "clip" else SAMPLE
    one = exact(source) if zoom == "auto" else in_one(tmp_path / "one", source, crf=0, zoom=zoom).output()
    cut = in_segments(tmp_path / "cut", source, crf=0, zoom=zoom)
    assert pieces(cut, "encode")
    assert decibels(cut.output(), list(decoded(one))).min() > 55


def said(path: Path) -> dict[str, Any]:
    """All that a file says of its video beside the packets."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        return {
            "rate": stream.average_rate,
            "start": stream.start_time and float(stream.start_time * (stream.time_base or 0)),
            "words": {key.lower(): value for key, value in stream.metadata.items()},
            "file": dict(container.metadata),
            "chapters": len(container.chapters()),
            "flags": int(stream.disposition),
            "shape": stream.sample_aspect_ratio,
            "colours": (int(frame.color_primaries), int(frame.color_trc), int(frame.colorspace)),
            "range": (int(stream.codec_context.color_range), int(frame.color_range)),
            "size": (frame.width, frame.height, frame.rotation),
            "streams": kinds(path),
        }


def rich(folder: Path, whole: Path) -> Path:
    (folder / "s.srt").write_text("1\n00:00:00,100 --> 00:00:02,900\nHello\n")
    (folder / "c.txt").write_text(";FFMETADATA1\ntitle=A walk\n[CHAPTER]\nTIMEBASE=1/1\nSTART=1\nEND=2\ntitle=One\n")
    inputs = ("-i", whole, "-i", whole, "-i", folder / "s.srt", "-i", folder / "c.txt")
    maps = ("-map", "0:v", "-map", "0:a", "-map", "1:a", "-map", "2:s", "-map_metadata", "3", "-c", "copy")
    says = ("-metadata:s:a:1", "language=deu", "-metadata:s:v:0", "language=spa", "-disposition:a:1", "default")
    media.ffmpeg(*inputs, *maps, "-c:s", "srt", *says, folder / "rich.mkv")
    return folder / "rich.mkv"


def odd(folder: Path) -> Path:
    return media.clip(folder / "odd.mp4", 2.6, pix_fmt="yuv444p", video=("-vf", "crop=159:119", *GOP))


def full_range(folder: Path) -> Path:
    tags = "setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=pc"
    convert = f"scale=out_range=pc:out_color_matrix=bt709,{tags}"
    return media.clip(folder / "full.mp4", 2.6, pix_fmt="yuvj420p", video=("-vf", convert, *GOP, "-aspect", "16:9"))


def late(folder: Path, whole: Path) -> Path:
    maps = ("-map", "0:v", "-map", "1:a", "-c", "copy")
    media.ffmpeg("-itsoffset", "0.5", "-i", whole, "-i", whole, *maps, folder / "late.mp4")
    return folder / "late.mp4"


@pytest.fixture(scope="session")
def odd_ones(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("odd")
    variable = ("-vf", "settb=1/90000,select='mod(n,3)',setpts='PTS+mod(N,3)*0.008/TB'")
    own = ("-fps_mode", "passthrough", "-enc_time_base", "1/90000")
    return {
        "rich": rich(folder, clip),
        "odd": odd(folder),
        "full range": full_range(folder),
        "late": late(folder, clip),
        "rotated": media.remux(clip, folder / "turned.mp4", before=("-display_rotation", "90")),
        "trimmed": media.remux(clip, folder / "trimmed.mp4", before=("-ss", "0.7")),
        "variable": media.clip(folder / "variable.mp4", 3, video=(*GOP, *variable), extra=own),
        "silent": media.clip(folder / "silent.mkv", 2.6, sound=False, rate="30000/1001", video=GOP),
    }


@pytest.mark.parametrize("container", ["mp4", "mkv"])
@pytest.mark.parametrize("name", ["rich", "odd", "full range", "late", "rotated", "trimmed", "variable", "silent"])
def test_all_but_the_picture_is_as_in_one_piece(
    name: str, container: str, odd_ones: dict[str, Path], tmp_path: Path
) -> None:
    source = odd_ones[name]
    cut, one = (do(tmp_path / do.__name__, source, container=container) for do in (in_segments, in_one))
    assert len(pieces(cut, "encode")) == 2
    assert said(cut.output()) == said(one.output())
    assert times(cut.output()) == pytest.approx(times(one.output()), abs=1e-4)
    for index in range(1, len(kinds(one.output()))):
        assert packets(cut.output(), index) == packets(one.output(), index)
    measured, expected = cut.done()["measured"], one.done()["measured"]
    assert measured.pop("seconds") == pytest.approx(expected.pop("seconds"), abs=0.03)
    assert measured == expected


def test_where_a_border_stays_bare_the_second_pass_is_not_cut(clip: Path, tmp_path: Path) -> None:
    bare = in_segments(tmp_path / "job", clip, zoom=0, smoothing=0)
    assert len(pieces(bare, "watch")) == 2
    assert len(pieces(bare, "encode")) == 1


def test_a_clip_in_one_piece_does_not_notice(clip: Path, tmp_path: Path) -> None:
    """A clip shorter than a segment is steadied as ever: no checkpoint, the bytes of one piece."""
    short = stabilize(tmp_path / "short", clip)
    assert not pieces(short)
    assert short.output().read_bytes() == in_one(tmp_path / "one", clip).output().read_bytes()


def test_damage_is_found_in_segments_too(clip: Path, tmp_path: Path) -> None:
    rotten = media.rot(clip, tmp_path / "rotten.mp4")
    (cut,), (one,) = (do(tmp_path / do.__name__, rotten).of("item_failed") for do in (in_segments, in_one))
    assert (cut["kind"], cut["error"]) == (one["kind"], one["error"])
    assert "cannot be decoded" in cut["error"]


def test_disk_for_the_segments_is_asked_for(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    free = 90 * (160 * 120 * 0.2 / 8 * 2 ** ((18 - 23) / 6) + 8000)  # enough for one piece
    (tmp_path / "site/sitecustomize.py").write_text(
        f"import shutil\nreal = shutil.disk_usage\nshutil.disk_usage = lambda path: real(path)._replace(free={free})\n"
    )
    env = {"PYTHONPATH": str(tmp_path / "site")}
    assert run(job(tmp_path / "cut", clip), command(), env).failure()[0] == "limit"
    assert run(job(tmp_path / "one", clip), command(least=1e9), env).done()
