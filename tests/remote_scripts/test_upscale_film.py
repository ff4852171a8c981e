"""Upscale, of clips: every frame once and at its time, upright, in its colours; all else in the file as it was."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from tests import media

from .runs import Run, kinds, packets, part, times
from .test_stabilize_refuses import cut_avi
from .upscaled import finished, networks, quickly, upscale

__all__ = ["networks"]  # a fixture
X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "10")
VARIABLE = "settb=1/1000,setpts='(N+if(gt(N,20),7,0)+if(gt(N,40),0.5,0))/25/TB'"
OPEN_GOP = ("-c:v", "libx264", "-preset", "medium", "-crf", "10", "-x264-params", "open-gop=1:keyint=20:bframes=3")


def variable(path: Path) -> Path:
    return media.clip(
        path, 2.4, (64, 48), video=(*X264, "-vf", VARIABLE), extra=("-fps_mode", "vfr", "-enc_time_base", "1:1000")
    )


def late(path: Path) -> Path:
    """Its picture begins a third of a second after its sound."""
    clip = media.clip(path.with_name("on-time.mp4"), 2.4, (64, 48), video=X264)
    media.ffmpeg("-i", clip, "-itsoffset", "0.32", "-i", clip, "-map", "1:v", "-map", "0:a", "-c", "copy", path)
    return path


def turned(path: Path) -> Path:
    clip = media.clip(path.with_name("lying.mp4"), 0.4, (64, 48), video=X264)
    return media.remux(clip, path, before=("-display_rotation", "90"))


def rich(path: Path) -> Path:
    clip = media.clip(path.with_name("poor.mp4"), 1, (64, 48), video=X264)
    subtitles = path.with_suffix(".srt")
    subtitles.write_text("1\n00:00:00,100 --> 00:00:00,900\nHello\n")
    inputs = ["-i", clip, "-i", clip, "-i", subtitles]
    maps = ["-map", "0:v", "-map", "0:a", "-map", "1:a", "-map", "2:s", "-c", "copy", "-c:a:1", "flac"]
    says = ["-metadata:s:a:1", "language=deu", "-metadata:s:v:0", "language=spa", "-metadata", "title=A walk"]
    media.ffmpeg(*inputs, *maps, *says, path)
    return path


CLIPS = {
    "plain.mp4": lambda path: media.clip(path, 2.4, (64, 48), video=X264),
    "odd.mkv": lambda path: media.clip(path, 0.4, (63, 47), pix_fmt="yuv444p", video=X264),
    "variable.mp4": variable,
    "late.mkv": late,
    "turned.mp4": turned,
    "silent.mp4": lambda path: media.clip(path, 0.4, (64, 48), sound=False, video=X264),
    "rich.mkv": rich,
    "open.mp4": lambda path: media.clip(path, 2.4, (64, 48), video=OPEN_GOP),
    "stream.ts": lambda path: media.clip(path, 2.4, (64, 48), video=OPEN_GOP),
    "old.avi": lambda path: media.clip(path, 2.4, (64, 48), video=("-c:v", "mpeg4", "-q:v", "2")),
    "rate.mov": lambda path: media.clip(path, 1, (64, 48), rate="30000/1001", video=X264),
    "film.mkv": lambda path: media.clip(path, 2, (64, 48), rate="24000/1001", video=X264),
    "short.mkv": lambda path: media.clip(path, 0.1, (64, 48), rate="24000/1001", video=X264),
    "one.mp4": lambda path: media.clip(path, 0.04, (64, 48), sound=False, video=X264),
}
HANDHELD = Path(__file__).parents[2] / "examples/handheld.mp4"
TAGGED = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
COLOURS = {
    "sd.mp4": (),
    "hd.mp4": TAGGED,
    "full.mp4": (*TAGGED, "-color_range", "pc"),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    found = {name: make(folder / name) for name, make in CLIPS.items()}
    for name, tags in COLOURS.items():
        fields = "scale=out_range=pc" if "pc" in tags else "null"
        found[name] = media.clip(folder / name, 0.2, (64, 48), video=(*X264, "-vf", fields, *tags))
    return found


@pytest.fixture(scope="module")
def larger(clips: dict[str, Path], networks: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All of them, doubled by a network that repeats pixels and Lanczos: the run, and each one's index."""
    inputs = [*clips.values()]
    run = upscale(tmp_path_factory.mktemp("run") / "job", *inputs, model=networks / "nearest.pth", suffix=".mkv")
    return {"run": run, **{name: run.output(index) for index, name in enumerate(clips)}}


def frames(path: Path) -> list[np.ndarray]:
    """Every frame as shown, as ffmpeg turns it into RGB."""
    done = media_pipe(path)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        size = (frame.width, frame.height) if frame.rotation % 180 == 0 else (frame.height, frame.width)
    return [*np.frombuffer(done, np.uint8).reshape(-1, size[1], size[0], 3)]


def media_pipe(path: Path) -> bytes:
    exact = "scale=flags=bicubic+accurate_rnd+bitexact+full_chroma_int+full_chroma_inp,format=rgb24"
    command = [media.imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", path, "-map", "0:v", "-vf", exact]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-"]
    return subprocess.run(list(map(str, command)), check=True, capture_output=True).stdout


@pytest.mark.parametrize("name", [*CLIPS, *COLOURS])
def test_every_frame_is_there_in_its_place_and_colour(
    clips: dict[str, Path], larger: dict[str, Any], name: str
) -> None:
    before, after = frames(clips[name]), frames(larger[name])
    assert len(after) == len(before) > 0
    for small, large in zip(before, after, strict=True):
        height, width, _ = small.shape
        assert large.shape == (4 * height, 4 * width, 3)
        blocks = large.reshape(height, 4, width, 4, 3).mean(axis=(1, 3))
        assert np.abs(blocks - small).mean() < 2.5
        assert np.abs(blocks.mean(axis=(0, 1)) - small.mean(axis=(0, 1))).max() < 1.5


def starts(path: Path) -> list[float]:
    """When the first packet of each track of picture or sound is shown, in seconds."""
    with av.open(str(path)) as container:
        firsts: dict[int, float] = {}
        for packet in container.demux(*container.streams.video, *container.streams.audio):
            if packet.pts is not None:
                seconds = float(packet.pts * packet.time_base)
                firsts[packet.stream.index] = min(firsts.get(packet.stream.index, seconds), seconds)
        return [firsts[index] for index in sorted(firsts)]


def shown(path: Path) -> list[float]:
    """When ffmpeg shows each frame, in seconds. The packets of an AVI do not tell."""
    said = media.ffmpeg("-i", path, "-map", "0:v", "-vf", "showinfo", "-fps_mode", "passthrough", "-f", "null", "-")
    return [float(stamp) for stamp in re.findall(r" pts_time:([\d.]+)", said)]


@pytest.mark.parametrize("name", [*CLIPS])
def test_frames_are_shown_when_they_were(clips: dict[str, Path], larger: dict[str, Any], name: str) -> None:
    before, after = shown(clips[name]), shown(larger[name])
    assert np.abs(np.diff(before) - np.diff(after)).max(initial=0) < 0.0015
    if len(starts(larger[name])) > 1 and name != "old.avi":
        apart = [start[1] - start[0] for start in map(starts, (clips[name], larger[name]))]
        assert abs(apart[0] - apart[1]) < 0.002


def test_the_clips_are_what_they_are_for(clips: dict[str, Path]) -> None:
    assert len({round(gap, 3) for gap in np.diff(times(clips["variable.mp4"]))}) > 2
    assert starts(clips["late.mkv"])[0] > 0.3


def test_sound_subtitles_languages_and_title_are_kept(clips: dict[str, Path], larger: dict[str, Any]) -> None:
    rich = larger["rich.mkv"]
    assert [kind for kind, _ in kinds(rich)] == ["video", "audio", "audio", "subtitle"]
    for index in (1, 2, 3):
        assert packets(rich, index) == packets(clips["rich.mkv"], index)
    with av.open(str(rich)) as container:
        assert container.metadata["title"] == "A walk"
        assert [stream.language for stream in container.streams][0:3:2] == ["spa", "deu"]
    assert [kind for kind, _ in kinds(larger["silent.mp4"])] == ["video"]


def test_colour_is_told_as_it_was(clips: dict[str, Path], larger: dict[str, Any]) -> None:
    for name in COLOURS:
        before, after = (tags(path) for path in (clips[name], larger[name]))
        assert before == after, name
    assert tags(larger["full.mp4"])[0] == 2


def tags(path: Path) -> tuple[int, ...]:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        return tuple(map(int, (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc)))


def test_a_frame_is_told_of_before_it_is_begun(clips: dict[str, Path], tmp_path: Path) -> None:
    """Time counts from then: to find the first frame of a segment the clip is read up to there."""
    reel, times_ = reeled(clips["plain.mp4"], tmp_path)
    shares = [*reel.make(times_.segments("")[1], tmp_path)]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1], len(shares)) == (0.0, 1.0, 24)  # of 12 frames, at the start and the end of each


def reeled(clip: Path, folder: Path, most: int = 10_000) -> tuple[Any, Any]:
    """A clip, or its first frames, as it is enlarged in this process; and its timetable."""
    film, pixels = part("_film"), 10**7
    (folder / "input").symlink_to(clip)
    media_, tracks = part("_media").probe(folder / "input", pixels, 60), part("_ffmpeg").Tracks("mp4", (), {}, ())
    for _ in part("_passes").Pass(film.watch(media_, tracks, pixels), folder):
        pass
    whole = part("_timetable").timetable(folder, media_, pixels)
    times_ = dataclasses.replace(whole, stamps=whole.stamps[:most])
    enlarger, settings = part("_tiles").Enlarger(Doubled(), 0, 2), {"crf": 18, "preset": "medium"}
    return film.Film(folder, media_, times_, film.colour(folder, media_, pixels), enlarger, settings, pixels), times_


def test_how_long_it_takes_is_told_from_the_first_frames(larger: dict[str, Any]) -> None:
    run: Run = larger["run"]
    (told,) = (event["message"] for event in run.of("log", 0))
    assert "this takes about" in told
    order = [event["type"] for event in run.events if event.get("index") == 0]
    assert order.index("log") < order.index("checkpoint")
    assert [event["fraction"] for event in run.of("progress", 0)][-1] == 0.99


def test_what_takes_more_than_a_day_says_what_is_quicker() -> None:
    outlook = part("_clock").outlook
    assert outlook(0.5, 86_000, 9) == "at 0.5 s a frame, this takes about 24 hours"
    assert "3.0 days" in outlook(40, 3 * 86_400, 9)
    assert "--on NAME" in outlook(40, 3 * 86_400, 9)


@pytest.mark.soak
def test_a_joint_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """About each joint, a second's frames are on average no more than 0.5 dB below those encoded without one."""
    quality = {}
    for length in (48, 1000):
        monkeypatch.setattr(part("_timetable"), "SEGMENT", length)
        (tmp_path / str(length)).mkdir()
        reel, times_ = reeled(HANDHELD, tmp_path / str(length), 144)
        pieces = []
        for segment in times_.segments(""):
            (tmp_path / segment.name).mkdir(exist_ok=True)
            pieces.append(finished(reel.make(segment, tmp_path / segment.name)))
        joined = part("_join").join(pieces, times_.stamps, times_.last, times_.unit, tmp_path)
        quality[length] = np.array(against(joined, HANDHELD))
    loss = quality[1000] - quality[48]
    assert len(loss) == 144
    for joint in (48, 96):
        assert loss[joint - 12 : joint + 12].mean() < 0.5
        assert loss[joint - 4 : joint].mean() < 0.5


class Doubled:
    """Repeats each pixel."""

    scale = 2

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return pixels.repeat(2, axis=0).repeat(2, axis=1)


def against(made: Path, source: Path) -> list[float]:
    """PSNR of each frame to the input's, doubled; dB."""
    found = []
    with av.open(str(made)) as one, av.open(str(source)) as other:
        for frame, before in zip(one.decode(video=0), other.decode(video=0), strict=False):
            expected = Doubled()(before.to_ndarray(format="gray")).astype(float)
            found.append(10 * np.log10(255**2 / ((frame.to_ndarray(format="gray") - expected) ** 2).mean()))
    return found


@pytest.fixture(scope="module")
def refused(clips: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("bad")
    deep = media.clip(folder / "deep.mkv", 0.2, (64, 48), pix_fmt="yuv420p10le", video=("-c:v", "ffv1"))
    wide = media.clip(folder / "wide.mp4", 0.2, (4200, 16), video=X264, sound=False)
    media.ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", folder / "sound.mp4")
    (folder / "list.mp4").write_text("#EXTM3U\nsecret.ts\n")
    inputs = [
        media.truncate(clips["plain.mp4"], folder / "cut.mp4", 0.6),
        cut_avi(folder),
        media.rot(clips["open.mp4"], folder / "rot.mp4"),
        folder / "sound.mp4",
        folder / "list.mp4",
        deep,
        wide,
        clips["one.mp4"],
    ]
    return quickly(folder / "job", *inputs, suffix=".mp4")


@pytest.mark.parametrize(
    ("index", "says"),
    [
        (0, "damaged or cut short"),
        (1, "cut short"),
        (2, "damaged"),
        (3, "no video stream"),
        (4, "playlist"),
        (5, "--to-sdr"),
        (6, "larger than H.264"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(refused: Run, index: int, says: str) -> None:
    kind, error = refused.failure(index)
    assert kind == "bad_input"
    assert says in error
    assert not refused.of("checkpoint", index)


def test_the_others_are_done(refused: Run) -> None:
    assert len(times(refused.output(7))) == 1
    assert not (refused.folder / "work").exists()


def test_a_clip_is_no_photo_and_a_size_of_ones_own_is_even(tmp_path: Path, clips: dict[str, Path]) -> None:
    deep = media.clip(tmp_path / "deep.mkv", 0.2, (64, 48), pix_fmt="yuv420p10le", video=("-c:v", "ffv1"))
    inputs = [clips["silent.mp4"], deep, clips["turned.mp4"]]
    run = quickly(tmp_path / "job", *inputs, suffix=".mp4", height=101, to_sdr=True)
    assert [run.done(index)["measured"]["to"] for index in range(3)] == [[134, 100], [134, 100], [76, 100]]
    assert "converted from 10-bit" in run.logged(1)
    run = quickly(tmp_path / "job", clips["silent.mp4"], suffix=".png")
    kind, error = run.failure()
    assert (kind, "-o with a name in .mp4" in error) == ("bad_input", True)


def said(path: Path) -> tuple[Fraction | None, Fraction | None]:
    """Frames a second and the shape of a pixel, as a file says them."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.average_rate, stream.sample_aspect_ratio


def test_the_frame_rate_is_the_clips_own(clips: dict[str, Path], larger: dict[str, Any]) -> None:
    for name in ("rate.mov", "film.mkv", "short.mkv"):
        assert said(larger[name])[0] == said(clips[name])[0], name
    assert said(clips["film.mkv"])[0] == Fraction(24_000, 1001)


@pytest.mark.parametrize(
    ("wanted", "shape"),
    [({"scale": 2}, Fraction(64, 45)), ({"height": 288}, Fraction(64, 45)), ({"width": 512, "height": 288}, 1)],
)
def test_a_size_of_ones_own_is_the_shape_it_is_shown_in(
    tmp_path: Path, wanted: dict[str, int], shape: Fraction | int
) -> None:
    """What is asked for by scale or height keeps its shape: its pixels need not be square."""
    wide = media.clip(tmp_path / "dv.mp4", 0.2, (180, 144), video=(*X264, "-vf", "setsar=64/45"))
    assert said(wide)[1] == Fraction(64, 45)
    assert said(quickly(tmp_path / "job", wide, **wanted).output())[1] == shape
