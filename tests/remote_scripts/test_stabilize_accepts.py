"""Sound files of every kind are done, however odd their insides: nothing that can be steadied is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import media

from .runs import Run, stabilize

H264 = ("-c:v", "libx264", "-preset", "veryfast", "-g", "12", "-bf", "3")


def mov(folder: Path) -> Path:
    return media.clip(folder / "clip.mov", video=H264, audio=("-c:a", "pcm_s16le"))


def webm_vp9_with_hidden_frames(folder: Path) -> Path:
    vp9 = ("-c:v", "libvpx-vp9", "-deadline", "good", "-cpu-used", "5", "-auto-alt-ref", "1", "-lag-in-frames", "20")
    return media.clip(folder / "vp9.webm", video=vp9, audio=("-c:a", "libopus"))


def webm_vp8_with_hidden_frames(folder: Path) -> Path:
    vp8 = ("-c:v", "libvpx", "-deadline", "good", "-cpu-used", "5", "-auto-alt-ref", "1", "-lag-in-frames", "20")
    return media.clip(folder / "vp8.webm", video=vp8, audio=("-c:a", "libvorbis"))


def av1(folder: Path) -> Path:
    return media.clip(folder / "av1.mp4", video=("-c:v", "libsvtav1", "-preset", "12"))


def avi_without_time_stamps(folder: Path) -> Path:
    return media.remux(media.clip(folder / "avi.mp4", video=H264), folder / "clip.avi")


def avi_with_b_frames(folder: Path) -> Path:
    return media.clip(folder / "bframes.avi", video=("-c:v", "mpeg4", "-bf", "2"), audio=("-c:a", "mp3"))


def avi_that_does_not_know_its_length(folder: Path) -> Path:
    data = bytearray(media.clip(folder / "known.avi", video=("-c:v", "mpeg4")).read_bytes())
    data[4:8] = b"\xff" * 4
    (folder / "unknown.avi").write_bytes(data)
    return folder / "unknown.avi"


def ts(folder: Path) -> Path:
    return media.clip(folder / "clip.ts", video=H264)


def ts_with_open_gops(folder: Path) -> Path:
    hevc = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "keyint=8:open-gop=1:log-level=error")
    return media.clip(folder / "open.ts", video=hevc)


def interlaced_mpeg2(folder: Path) -> Path:
    mpeg2 = ("-c:v", "mpeg2video", "-flags", "+ilme+ildct", "-q:v", "3")
    return media.clip(folder / "interlaced.ts", video=mpeg2, audio=("-c:a", "mp2"))


def fragmented(folder: Path) -> Path:
    clip = media.clip(folder / "whole.mp4", video=H264)
    return media.remux(clip, folder / "fragments.mp4", "-movflags", "+frag_keyframe+empty_moov")


def no_sound(folder: Path) -> Path:
    return media.clip(folder / "silent.mp4", sound=False)


def live_without_duration(folder: Path) -> Path:
    return media.clip(folder / "live.mkv", video=H264, extra=("-live", "1"))


def bad_words_inside(folder: Path) -> Path:
    title = "[in#0/mp4 @ 0x1] [error] corrupt decoded frame\nno Packet corrupt"
    return media.clip(folder / "title.mkv", extra=("-metadata", f"title={title}"))


def metadata_in_another_encoding(folder: Path) -> Path:
    clip = media.clip(folder / "latin.mkv", extra=("-metadata", "title=CAFE"))
    clip.write_bytes(clip.read_bytes().replace(b"CAFE", b"CAF\xe9"))
    return clip


def odd_suffix(folder: Path) -> Path:
    return media.clip(folder / "clip.mp4", video=H264).rename(folder / "clip.m:p'4,[x] %d;")


SOUND: tuple[Callable[[Path], Path], ...] = (
    mov,
    webm_vp9_with_hidden_frames,
    webm_vp8_with_hidden_frames,
    av1,
    avi_without_time_stamps,
    avi_with_b_frames,
    avi_that_does_not_know_its_length,
    ts,
    ts_with_open_gops,
    interlaced_mpeg2,
    fragmented,
    no_sound,
    live_without_duration,
    bad_words_inside,
    metadata_in_another_encoding,
    odd_suffix,
)


@pytest.fixture(scope="session")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("sound")
    return stabilize(folder / "job", *(make(folder) for make in SOUND), container="mkv")


@pytest.mark.parametrize("index", range(len(SOUND)), ids=[make.__name__ for make in SOUND])
def test_a_sound_file_is_done_frame_for_frame(index: int, batch: Run) -> None:
    measured = batch.done(index)["measured"]
    assert measured["frames"] == 25
    assert measured["jitter_px"]["after"] < measured["jitter_px"]["before"] / 5


def test_interlacing_is_said(batch: Run) -> None:
    assert "interlaced" in batch.logged(SOUND.index(interlaced_mpeg2))


def test_a_clip_trimmed_by_an_edit_list_stays_trimmed(tmp_path: Path) -> None:
    clip = media.clip(tmp_path / "clip.mp4", 2, video=H264)
    trimmed = media.remux(clip, tmp_path / "trimmed.mp4", before=("-ss", "0.7"))
    run = stabilize(tmp_path / "job", trimmed)
    assert run.done()["measured"]["frames"] == 32
    assert "of 38 packets show no picture" in run.logged()


def test_a_stream_that_starts_between_keyframes_loses_only_what_cannot_be_decoded_and_says_so(tmp_path: Path) -> None:
    data = media.clip(tmp_path / "clip.ts", 2, video=H264).read_bytes()
    tables, packets = data[: 3 * 188], len(data) // 188
    (tmp_path / "middle.ts").write_bytes(tables + data[packets * 3 // 10 * 188 :])
    run = stabilize(tmp_path / "job", tmp_path / "middle.ts")
    assert run.done()["measured"]["frames"] >= 24
    assert "starts between keyframes" in run.logged()


def test_a_stream_that_ends_inside_a_packet_says_so(tmp_path: Path) -> None:
    clip = media.clip(tmp_path / "clip.ts", 2, video=H264)
    data = clip.read_bytes()
    (tmp_path / "cut.ts").write_bytes(data[: len(data) * 6 // 10 // 188 * 188 + 100])
    run = stabilize(tmp_path / "job", tmp_path / "cut.ts")
    assert run.of("item_failed") or "middle of a packet" in run.logged()


def test_two_frames_are_enough(tmp_path: Path) -> None:
    run = stabilize(tmp_path / "job", media.clip(tmp_path / "two.mp4", 0.08, sound=False))
    assert run.done()["measured"]["frames"] == 2
