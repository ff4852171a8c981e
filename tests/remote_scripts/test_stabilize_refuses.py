"""A bad input fails alone, before or between the passes, with one sentence that says what is wrong with it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import media

from .runs import Run, stabilize, wrapped_ffmpeg

H264 = ("-c:v", "libx264", "-preset", "veryfast", "-g", "12")
VP9 = ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8")


def empty(folder: Path) -> Path:
    (folder / "empty.mp4").write_bytes(b"")
    return folder / "empty.mp4"


def text(folder: Path) -> Path:
    (folder / "text.mp4").write_text("Dear diary,\n" * 100)
    return folder / "text.mp4"


def page(folder: Path) -> Path:
    (folder / "page.mp4").write_text("<!DOCTYPE html><title>404 Not Found</title>")
    return folder / "page.mp4"


def missing(folder: Path) -> Path:
    return folder / "missing.mp4"


def directory(folder: Path) -> Path:
    (folder / "folder.mp4").mkdir()
    return folder / "folder.mp4"


def picture(folder: Path, name: str = "picture.png") -> Path:
    media.ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64", "-frames:v", "1", folder / name)
    return folder / name


def photo(folder: Path) -> Path:
    return picture(folder, "photo.jpg")


def sound_only(folder: Path) -> Path:
    media.ffmpeg("-f", "lavfi", "-i", "sine=d=1", folder / "sound.mp4")
    return folder / "sound.mp4"


def song_with_cover(folder: Path) -> Path:
    maps = ("-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic")
    media.ffmpeg("-i", sound_only(folder), "-i", picture(folder, "art.png"), *maps, folder / "song.mp4")
    return folder / "song.mp4"


def one_frame(folder: Path) -> Path:
    return media.clip(folder / "one.mp4", 0.04, sound=False)


def cut_with_index_at_the_front(folder: Path) -> Path:
    clip = media.clip(folder / "front.mp4", 2, video=H264, extra=("-movflags", "+faststart"))
    return media.truncate(clip, folder / "front-cut.mp4", 0.6)


def cut_with_index_at_the_end(folder: Path) -> Path:
    return media.truncate(media.clip(folder / "end.mp4", 2, video=H264), folder / "end-cut.mp4", 0.6)


def cut_mkv(folder: Path) -> Path:
    return media.truncate(media.clip(folder / "whole.mkv", 2, video=H264), folder / "cut.mkv", 0.6)


def cut_webm(folder: Path) -> Path:
    clip = media.clip(folder / "whole.webm", 2, video=VP9, audio=("-c:a", "libopus"))
    return media.truncate(clip, folder / "cut.webm", 0.6)


def cut_avi(folder: Path) -> Path:
    clip = media.clip(folder / "whole.avi", 2, video=("-c:v", "mpeg4"), audio=("-c:a", "mp3"))
    return media.truncate(clip, folder / "cut.avi", 0.6)


def cut_avi_with_aac(folder: Path) -> Path:
    """Nothing in what is left of it shows that more should follow."""
    clip = media.clip(folder / "whole-aac.avi", 2, video=("-c:v", "mpeg4"))
    return media.truncate(clip, folder / "cut-aac.avi", 0.6)


def rotten_mp4(folder: Path) -> Path:
    return media.rot(media.clip(folder / "sound.m4v", 2, video=H264), folder / "rotten.mp4")


def rotten_mkv(folder: Path) -> Path:
    return media.rot(media.clip(folder / "sound.mkv", 2, video=H264), folder / "rotten.mkv")


def rotten_ts(folder: Path) -> Path:
    return media.rot(media.clip(folder / "sound.ts", 2, video=H264), folder / "rotten.ts")


def rotten_webm(folder: Path) -> Path:
    clip = media.clip(folder / "sound.webm", 2, video=VP9, audio=("-c:a", "libopus"))
    return media.rot(clip, folder / "rotten.webm")


def one_rotten_place(folder: Path) -> Path:
    clip = media.clip(folder / "almost.m4v", 2, video=H264, sound=False)
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    (folder / "almost.mp4").write_bytes(data)
    return folder / "almost.mp4"


BAD: dict[Callable[[Path], Path], str] = {
    empty: "empty",
    text: "not a video file",
    page: "not a video file",
    missing: "cannot be read",
    directory: "folder",
    picture: "still image",
    photo: "still image",
    sound_only: "no video stream, only sound",
    song_with_cover: "no video stream, only sound",
    one_frame: "only one frame",
    cut_with_index_at_the_front: "cut short: its index lists 50 frames",
    cut_with_index_at_the_end: "damaged or cut short",
    cut_mkv: "cut short",
    cut_webm: "cut short",
    cut_avi: "cut short",
    cut_avi_with_aac: "cut short: it says that it has",
    rotten_mp4: "frames cannot be decoded",
    rotten_mkv: "damaged",
    rotten_ts: "damaged",
    rotten_webm: "damaged",
    one_rotten_place: "damaged",
}


@pytest.fixture(scope="session")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every bad input in one job, with a good one at its end."""
    folder = tmp_path_factory.mktemp("bad")
    inputs = [make(folder) for make in BAD]
    return stabilize(folder / "job", *inputs, media.clip(folder / "good.mp4"))


@pytest.mark.parametrize(("index", "words"), list(enumerate(BAD.values())), ids=[make.__name__ for make in BAD])
def test_a_bad_input_gets_one_sentence(index: int, words: str, batch: Run) -> None:
    kind, error = batch.failure(index)
    assert kind == "bad_input"
    assert words in error
    assert error.startswith("the input ")
    assert "\n" not in error
    assert not re.search(r"Error|@ 0x|\[error", error)


def test_the_good_one_of_many_is_done(batch: Run) -> None:
    assert batch.status == 0
    assert batch.done(len(BAD))["measured"]["frames"] == 25
    assert {path.name for path in batch.folder.iterdir()} == {"job.json", "in", "out"}


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A clip that a playlist points at, and whose sound and picture must not be read."""
    return media.clip(tmp_path / "other.ts", 1)


def test_playlists_dressed_as_mp4_never_read_another_file(other: Path, tmp_path: Path) -> None:
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n"
    bodies = {
        "hls": hls,
        "hls-file": hls.replace(str(other), f"file:{other}"),
        "hls-relative": hls.replace(str(other), "../../other.ts"),
        "ffconcat": f"ffconcat version 1.0\nfile '{other}'\n",
        "dash": f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{other}</BaseURL></MPD>',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    }
    inputs = []
    for name, body in bodies.items():
        inputs.append(tmp_path / f"{name}.mp4")
        inputs[-1].write_text(body)
    run = stabilize(tmp_path / "job", *inputs)
    assert [run.failure(index)[0] for index in range(len(inputs))] == ["bad_input"] * len(inputs)
    assert "playlist" in run.failure(0)[1]
    assert other.name not in run.log.replace(str(inputs), "")


def test_no_other_file_is_opened_for_a_playlist(other: Path, tmp_path: Path) -> None:
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n")
    traced = ["strace", "-f", "-e", "trace=openat", "-o", str(tmp_path / "trace")]
    try:
        subprocess.run(["strace", "-V"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("strace is not installed")
    stabilize(tmp_path / "job", playlist, prefix=tuple(traced))
    assert str(other) not in (tmp_path / "trace").read_text()


def test_pixels_over_the_limit_are_refused_before_the_work(tmp_path: Path) -> None:
    clip = media.clip(tmp_path / "clip.mp4")
    run = stabilize(tmp_path / "job", clip, limits={"pixels": 160 * 120 - 1})
    kind, error = run.failure()
    assert kind == "limit"
    assert "160x120" in error
    assert "OFFLOAD_MAX_PIXELS" in error
    assert not run.started
    allowed = stabilize(tmp_path / "job", clip, limits={"pixels": 160 * 120})
    assert allowed.done()
    assert allowed.started


def test_seconds_over_the_limit_are_refused_before_the_work(tmp_path: Path) -> None:
    run = stabilize(tmp_path / "job", media.clip(tmp_path / "clip.mp4", 2), limits={"seconds": 1})
    kind, error = run.failure()
    assert kind == "limit"
    assert "OFFLOAD_MAX_SECONDS" in error
    assert not run.started


def test_a_clip_that_hides_its_length_is_stopped_at_the_limit(tmp_path: Path) -> None:
    live = media.clip(tmp_path / "live.mkv", 3, extra=("-live", "1"))
    kind, error = stabilize(tmp_path / "job", live, limits={"seconds": 1}).failure()
    assert kind == "limit"
    assert "OFFLOAD_MAX_SECONDS" in error


def test_a_full_disk_is_a_limit_and_leaves_nothing(tmp_path: Path) -> None:
    """ffmpeg's files may not grow: what ENOSPC and a quota look like from inside."""
    failing = wrapped_ffmpeg(tmp_path, "")
    failing.write_text('#!/bin/sh\necho "[out#0/mp4 @ 0x1] [error] No space left on device" >&2\nexit 228\n')
    run = stabilize(tmp_path / "job", media.clip(tmp_path / "clip.mp4"), env={"IMAGEIO_FFMPEG_EXE": str(failing)})
    assert run.failure() == ("limit", "the disk is full where the job runs")


def test_free_disk_is_checked_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(
        "import shutil\nreal = shutil.disk_usage\nshutil.disk_usage = lambda path: real(path)._replace(free=1000)\n"
    )
    clip = media.clip(tmp_path / "clip.mp4")
    run = stabilize(tmp_path / "job", clip, env={"PYTHONPATH": str(tmp_path / "site")})
    kind, error = run.failure()
    assert kind == "limit"
    assert "MB free" in error
    assert not run.started


def test_unreadable_is_said(tmp_path: Path) -> None:
    clip = media.clip(tmp_path / "clip.mp4")
    clip.chmod(0)
    if os.access(clip, os.R_OK):
        pytest.skip("this user reads every file")
    assert "permission denied" in stabilize(tmp_path / "job", clip).failure()[1]


def test_ffmpeg_missing_is_said_with_the_command_that_installs_it(tmp_path: Path) -> None:
    gone = {"IMAGEIO_FFMPEG_EXE": str(tmp_path / "gone")}
    kind, error = stabilize(tmp_path / "job", media.clip(tmp_path / "clip.mp4"), env=gone).failure()
    assert kind == "missing"
    assert "pip install" in error or "IMAGEIO_FFMPEG_EXE" in error


def test_a_result_short_of_frames_is_not_a_result(tmp_path: Path) -> None:
    """An ffmpeg that drops a frame of the second pass, and exits 0."""
    lossy = tmp_path / "ffmpeg"
    real = wrapped_ffmpeg(tmp_path, "").read_text().splitlines()[1]
    lossy.write_text(
        f'#!/bin/sh\nout=""; for word; do out=$word; done\n[ "$out" = "-" ] && {real}\n'
        f'last=$out; set -- "$@"; n=$#; i=0; for word; do shift; i=$((i+1)); '
        f'[ $i -lt $n ] && set -- "$@" "$word"; done\n{real} -frames:v 24 "$last"\n'
    )
    clip = media.clip(tmp_path / "clip.mp4")
    kind, error = stabilize(tmp_path / "job", clip, env={"IMAGEIO_FFMPEG_EXE": str(lossy)}).failure()
    assert kind == "failed"
    assert "different frames" in error
