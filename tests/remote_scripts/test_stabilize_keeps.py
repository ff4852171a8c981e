"""What is not the shake stays as it was: sound, subtitles, time stamps, orientation, names."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests import media

from .runs import Run, first_frame, kinds, packets, stabilize, times

SUBTITLES = "1\n00:00:00,100 --> 00:00:00,900\nHello: 'there'\n"
CHAPTERS = """;FFMETADATA1
title=A walk
[CHAPTER]
TIMEBASE=1/1000
START=0
END=400
title=One
[CHAPTER]
TIMEBASE=1/1000
START=400
END=1000
title=Two
"""


@pytest.fixture(scope="session")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip in Matroska with all that a file can carry."""
    folder = tmp_path_factory.mktemp("rich")
    clip = media.clip(folder / "clip.mp4")
    (folder / "s.srt").write_text(SUBTITLES)
    (folder / "chapters.txt").write_text(CHAPTERS)
    picture = folder / "cover.png"
    media.ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", picture)
    inputs: list[str | Path] = ["-i", clip, "-i", clip, "-i", folder / "s.srt", "-i", folder / "chapters.txt"]
    maps = ["-map", "0:v", "-map", "0:a", "-map", "1:a", "-map", "2:s", "-map", "2:s", "-map_metadata", "3"]
    codecs = ["-c", "copy", "-c:a:1", "flac", "-c:s:0", "srt", "-c:s:1", "ass"]
    says = ["-metadata:s:a:1", "language=deu", "-metadata:s:s:0", "language=fra", "-metadata:s:v:0", "language=spa"]
    font: list[str | Path] = ["-attach", folder / "s.srt", "-metadata:s:t", "mimetype=text/plain"]
    media.ffmpeg(*inputs, *maps, *codecs, *says, *font, folder / "rich.mkv")
    return folder / "rich.mkv"


@pytest.fixture(scope="session", params=["mp4", "mkv"])
def carried(rich: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Run:
    return stabilize(tmp_path_factory.mktemp("carried") / "job", rich, container=request.param)


def test_every_sound_track_is_copied(carried: Run, rich: Path) -> None:
    assert [kind for kind, _ in kinds(carried.output())].count("audio") == 2
    assert packets(carried.output(), 1) == packets(rich, 1)
    assert packets(carried.output(), 2) == packets(rich, 2)


def test_subtitles_are_kept_and_converted_where_they_must_be(carried: Run) -> None:
    codecs = {"stabilized.mp4": ["mov_text", "mov_text"], "stabilized.mkv": ["srt", "ssa"]}[carried.output().name]
    assert [codec for kind, codec in kinds(carried.output()) if kind == "subtitle"] == codecs
    assert all(b"Hello: 'there'" in b"".join(packets(carried.output(), index)) for index in (3, 4))


def test_languages_chapters_and_title_are_kept(carried: Run) -> None:
    with av.open(str(carried.output())) as container:
        languages = [stream.language for stream in container.streams if stream.type != "data"]
        assert languages[0] == "spa"
        assert languages[2:4] == ["deu", "fra"]
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["One", "Two"]
        assert container.metadata["title"] == "A walk"


def test_attachments_are_kept_or_named(carried: Run) -> None:
    kept = ("attachment", "") in kinds(carried.output())
    assert kept == (carried.output().suffix == ".mkv")
    assert kept or "s.srt" in carried.logged()


def test_a_cover_is_not_the_video_and_is_kept_in_mp4(tmp_path: Path) -> None:
    clip = media.clip(tmp_path / "clip.mp4")
    media.ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", tmp_path / "cover.png")
    covered = tmp_path / "covered.mp4"
    maps = ("-map", "1", "-map", "0", "-c", "copy", "-disposition:v:0", "attached_pic")
    media.ffmpeg("-i", clip, "-i", tmp_path / "cover.png", *maps, covered)
    run = stabilize(tmp_path / "mp4", covered)
    assert run.done()["measured"]["frames"] == 25
    assert (first_frame(run.output()).width, first_frame(run.output()).height) == media.SIZE
    with av.open(str(run.output())) as container:
        flags = [bool(stream.disposition & av.stream.Disposition.attached_pic) for stream in container.streams.video]
    assert flags == [False, True]
    assert "cover" in stabilize(tmp_path / "mkv", covered, container="mkv").logged()


def test_what_cannot_be_carried_is_named(tmp_path: Path) -> None:
    clip = media.clip(tmp_path / "clip.mp4")
    two = tmp_path / "two.mkv"
    media.ffmpeg("-i", clip, "-i", clip, "-map", "0", "-map", "1:v", "-c", "copy", "-metadata:s:v:1", "title=Rear", two)
    run = stabilize(tmp_path / "job", two)
    assert [kind for kind, _ in kinds(run.output())] == ["video", "audio"]
    assert "left out: video track" in run.logged()
    assert "Rear" in run.logged()


def test_chapters_and_time_code_of_quicktime_are_kept_and_not_said_to_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "chapters.txt").write_text(CHAPTERS)
    clip, quicktime = media.clip(tmp_path / "clip.mp4"), tmp_path / "clip.mov"
    media.ffmpeg(
        *("-i", clip, "-i", tmp_path / "chapters.txt", "-map", "0", "-map_chapters", "1", "-c", "copy"),
        *("-timecode", "01:02:03:04", quicktime),
    )
    run = stabilize(tmp_path / "job", quicktime)
    with av.open(str(run.output())) as container:
        assert container.streams.video[0].metadata["timecode"] == "01:02:03:04"
        assert len(container.chapters()) == 2
    assert "left out" not in run.logged()


@pytest.mark.parametrize(("container", "codec"), [("mp4", "pcm_mulaw"), ("mov", "opus"), ("mov", "flac")])
def test_sound_the_container_cannot_hold_is_refused_before_the_work(container: str, codec: str, tmp_path: Path) -> None:
    encoder = {"opus": "libopus"}.get(codec, codec)
    clip = media.clip(tmp_path / "clip.mkv", audio=("-ar", "48000", "-c:a", encoder))
    run = stabilize(tmp_path / "job", clip, container=container)
    kind, error = run.failure()
    assert kind == "bad_input"
    assert codec in error
    assert error.endswith(".mkv")
    assert not run.started
    assert packets(stabilize(tmp_path / "mkv", clip, container="mkv").output(), 1) == packets(clip, 1)


VARIABLE = "select='mod(n,3)',setpts='PTS+mod(N*N,7)*0.004/TB'"


@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("rate", ["30000/1001", "60", "variable"])
def test_frame_rate_and_time_stamps_are_kept(rate: str, container: str, tmp_path: Path) -> None:
    x264 = ("-c:v", "libx264", "-preset", "veryfast")
    if rate == "variable":
        own = ("-fps_mode", "passthrough", "-enc_time_base", "1/90000")
        clip = media.clip(tmp_path / "clip.mp4", video=(*x264, "-vf", VARIABLE), extra=own)
    else:
        clip = media.clip(tmp_path / "clip.mp4", rate=rate, video=x264)
    result = stabilize(tmp_path / "job", clip, container=container).output()
    assert times(result) == pytest.approx(times(clip), abs=0.00051 if container == "mkv" else 0.0001)
    if rate != "variable":
        with av.open(str(result)) as container_:
            assert container_.streams.video[0].average_rate == Fraction(rate)


def test_video_that_starts_after_the_sound_still_does(tmp_path: Path) -> None:
    clip, late = media.clip(tmp_path / "clip.mp4"), tmp_path / "late.mp4"
    media.ffmpeg("-itsoffset", "0.5", "-i", clip, "-i", clip, "-map", "0:v", "-map", "1:a", "-c", "copy", late)
    result = stabilize(tmp_path / "job", late).output()
    assert times(late)[0] == pytest.approx(0.5)
    assert times(result) == pytest.approx(times(late))
    assert packets(result, 1) == packets(late, 1)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_applied_once(degrees: int, tmp_path: Path) -> None:
    clip, turned = media.clip(tmp_path / "clip.mp4", steady=True), tmp_path / "turned.mp4"
    media.remux(clip, turned, before=("-display_rotation", str(degrees)))
    result = stabilize(tmp_path / "job", turned).output()
    frame, shown = first_frame(result), tmp_path / "shown.mp4"
    assert frame.rotation == 0
    assert (frame.width, frame.height) == (media.SIZE if degrees == 180 else media.SIZE[::-1])
    # ffmpeg rotates as players do: its picture of the input is what the result must look like.
    media.ffmpeg("-i", turned, "-c:v", "libx264", "-crf", "10", shown)
    difference = abs(first_frame(shown).to_ndarray(format="gray").astype(int) - frame.to_ndarray(format="gray"))
    assert difference.mean() < 4


def test_an_odd_size_becomes_even_and_nothing_else(tmp_path: Path) -> None:
    x264 = ("-vf", "crop=159:119", "-c:v", "libx264", "-preset", "ultrafast")
    run = stabilize(tmp_path / "job", media.clip(tmp_path / "odd.mp4", pix_fmt="yuv444p", video=x264))
    assert (first_frame(run.output()).width, first_frame(run.output()).height) == (158, 118)
    assert (run.done()["measured"]["width"], run.done()["measured"]["height"]) == (158, 118)


def test_the_shape_of_pixels_is_kept(tmp_path: Path) -> None:
    x264 = ("-c:v", "libx264", "-preset", "ultrafast", "-aspect", "16:9")
    clip = media.clip(tmp_path / "wide.mp4", video=x264)
    with av.open(str(stabilize(tmp_path / "job", clip).output())) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
