"""The pictures a model looks at are those the clip shows at their times, upright, small, and the same each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests import media

from .runs import Run, part
from .scripted import start

X264 = ("-c:v", "libx264", "-preset", "veryfast", "-threads", "1")
Frame = tuple[float, Image.Image]


def extract(folder: Path, *inputs: Path, frame: str = "", **params: Any) -> Run:
    limits, env = params.pop("limits", None), params.pop("env", None)
    return start("extract_frames.py", folder, *inputs, params={"frame": frame, **params}, limits=limits, env=env)


def frames(run: Run, index: int = 0) -> list[Frame]:
    return list(part("_frames").read(run.output(index)))


def numbered(path: Path, seconds: float, *video: str, rate: int = 25, size: str = "160x120") -> Path:
    """A clip whose frame n has the grey value `number` reads, so that a picture tells which frame it is."""
    source = f"color=black:s={size}:r={rate}:d={seconds},format=yuv420p,geq=lum='16+mod(N\\,24)*9':cb=128:cr=128"
    media.ffmpeg("-f", "lavfi", "-i", source, *(video or (*X264, "-crf", "4")), path)
    return path


def number(picture: Image.Image) -> int:
    grey = float(np.asarray(picture.convert("L"), dtype=np.float32).mean())
    return round(grey / 255 * 219 / 9)


def shown_at(path: Path, moments: list[float]) -> list[int]:
    """Which frames a clip shows at some times, found by decoding all of it."""
    with av.open(str(path)) as container:
        stamps = [frame.time for frame in container.decode(video=0)]
    if path.suffix == ".avi":  # which tells no times, only an order
        stamps = [place / 25 for place in range(len(stamps))]
    return [max(n for n, stamp in enumerate(stamps) if stamp - stamps[0] <= t + 0.001) % 24 for t in moments]


KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "long groups, spare frames": ("mp4", (*X264, "-g", "250", "-bf", "3", "-crf", "4")),
    "short groups": ("mp4", (*X264, "-g", "12", "-bf", "2", "-crf", "4")),
    "open groups": ("mkv", (*X264, "-g", "12", "-bf", "3", "-x264-params", "open-gop=1", "-crf", "4")),
    "intra refresh": ("mp4", (*X264, "-g", "12", "-x264-params", "intra-refresh=1:bframes=0", "-crf", "4")),
    "hevc, open groups": (
        "mp4",
        ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=12:crf=4:open-gop=1"),
    ),
    "transport stream": ("ts", (*X264, "-g", "12", "-bf", "2", "-crf", "4")),
    "no times at all": ("avi", (*X264, "-g", "12", "-bf", "2", "-crf", "4")),
    "no times": ("avi", ("-c:v", "mpeg4", "-q:v", "2", "-bf", "2", "-g", "12")),
    "hidden frames": (
        "webm",
        (
            "-c:v",
            "libvpx",
            "-deadline",
            "good",
            "-cpu-used",
            "5",
            "-auto-alt-ref",
            "1",
            "-lag-in-frames",
            "16",
            "-b:v",
            "1M",
            "-crf",
            "4",
        ),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_picture_is_the_frame_shown_at_its_time(kind: str, tmp_path: Path) -> None:
    suffix, video = KINDS[kind]
    clip = numbered(tmp_path / f"clip.{suffix}", 6, *video)
    for params in ({"fps": 0.7}, {"fps": 3}, {"count": 4}):
        found = frames(extract(tmp_path / "job", clip, **params))
        assert len(found) >= 4
        assert [number(picture) for _, picture in found] == shown_at(clip, [time for time, _ in found])


@pytest.mark.parametrize("kind", ["h264", "mpeg4", "hevc"])
def test_damage_that_a_decoder_notices_is_never_a_picture(kind: str, tmp_path: Path) -> None:
    """A sentence, or the very pictures of the whole clip."""
    kinds = {
        "h264": ("mp4", (*X264, "-g", "30", "-bf", "2", "-coder", "0")),
        "mpeg4": ("mkv", ("-c:v", "mpeg4", "-q:v", "3")),
        "hevc": ("mp4", ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error")),
    }
    suffix, video = kinds[kind]
    clip = media.clip(tmp_path / f"whole.{suffix}", 4, video=video, sound=False)
    bad = [damaged(clip, tmp_path / f"{place}.{suffix}", place / 100) for place in range(8, 96, 8)]
    run = extract(tmp_path / "job", clip, *bad, count=3)
    whole, refused = pixels(run, 0), 0
    for index, path in enumerate(bad, 1):
        if run.of("item_failed", index):
            reason, error = run.failure(index)
            assert reason == "bad_input"
            assert "damaged" in error or "cut short" in error
            refused += 1
        elif media.ffmpeg("-v", "warning", "-threads", "1", "-i", path, "-f", "null", "-"):
            assert pixels(run, index) == whole
    assert refused >= 2


def pixels(run: Run, index: int) -> list[tuple[float, bytes]]:
    return [(time, picture.tobytes()) for time, picture in frames(run, index)]


def damaged(clip: Path, path: Path, share: float) -> Path:
    data = bytearray(clip.read_bytes())
    place = int(len(data) * share)
    data[place : place + 48] = bytes(48)
    path.write_bytes(data)
    return path


def no_video(folder: Path) -> Path:
    media.ffmpeg("-f", "lavfi", "-i", "sine=d=1", folder / "sound.mp4")
    return folder / "sound.mp4"


def cut_clip(folder: Path) -> Path:
    clip = media.clip(folder / "front.mp4", 2, video=X264, extra=("-movflags", "+faststart"), sound=False)
    return media.truncate(clip, folder / "cut.mp4", 0.6)


def cut_mkv(folder: Path) -> Path:
    return media.truncate(media.clip(folder / "whole.mkv", 2, sound=False), folder / "cut.mkv", 0.6)


def cut_picture(folder: Path) -> Path:
    media.ffmpeg("-f", "lavfi", "-i", "testsrc=s=640x480", "-frames:v", "1", folder / "photo.jpg")
    return media.truncate(folder / "photo.jpg", folder / "cut.jpg", 0.5)


def playlist(folder: Path) -> Path:
    media.clip(folder / "other.ts", 1, sound=False)
    (folder / "list.mp4").write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{folder}/other.ts\n#EXT-X-ENDLIST\n"
    )
    return folder / "list.mp4"


def text(folder: Path) -> Path:
    (folder / "text.mp4").write_text("Dear diary")
    return folder / "text.mp4"


def page_as_picture(folder: Path) -> Path:
    (folder / "page.png").write_bytes(b"\x89PNG" + bytes(100))
    return folder / "page.png"


REFUSED: dict[Callable[[Path], Path], str] = {
    no_video: "no video stream",
    cut_clip: "cut short",
    cut_mkv: "cut short",
    cut_picture: "damaged or cut short",
    playlist: "playlist",
    text: "not a video",
    page_as_picture: "damaged",
    lambda folder: folder / "missing.mp4": "cannot be read",
}


def test_what_cannot_be_looked_at_gets_a_sentence(tmp_path: Path) -> None:
    good = media.clip(tmp_path / "good.mp4", sound=False)
    run = extract(tmp_path / "job", *[make(tmp_path) for make in REFUSED], good, fps=1)
    for index, words in enumerate(REFUSED.values()):
        kind, error = run.failure(index)
        assert kind == "bad_input"
        assert words in error
        assert "\n" not in error
    assert len(frames(run, len(REFUSED))) == 1


def test_limits_hold(tmp_path: Path) -> None:
    Image.new("RGB", (300, 100)).save(tmp_path / "wide.png")
    clip, long = media.clip(tmp_path / "clip.mp4"), media.clip(tmp_path / "long.mkv", 3, extra=("-live", "1"))
    limits = {"pixels": 160 * 120, "seconds": 2}
    run = extract(tmp_path / "job", clip, tmp_path / "wide.png", long, limits=limits, fps=1)
    assert len(frames(run)) == 1
    for index, words in ((1, "300x100"), (2, "OFFLOAD_MAX_SECONDS")):
        kind, error = run.failure(index)
        assert kind == "limit"
        assert words in error
    run = extract(tmp_path / "job", clip, limits={"pixels": 160 * 120 - 1}, fps=1)
    assert run.failure()[0] == "limit"


def test_short_and_uneven_clips(tmp_path: Path) -> None:
    one = numbered(tmp_path / "one.mp4", 0.04)
    short = numbered(tmp_path / "short.mp4", 0.2)
    slides = tmp_path / "slides.mkv"  # frames 0 to 4, each shown for longer than the one before
    stamps = "settb=1/1000,setpts='if(eq(N\\,0)\\,0\\,200*N*(N+1))'"
    media.ffmpeg("-i", short, "-vf", stamps, "-fps_mode", "passthrough", *X264, "-crf", "4", slides)
    by_time = extract(tmp_path / "fps", one, short, slides, fps=1)
    assert [[number(picture) for _, picture in frames(by_time, n)] for n in (0, 1)] == [[0], [0]]
    assert [(time, number(picture)) for time, picture in frames(by_time, 2)[:5]] == [
        (0.0, 0), (1.0, 1), (2.0, 2), (3.0, 3), (4.0, 4),
    ]  # fmt: skip
    by_count = extract(tmp_path / "count", one, short, slides, count=3)
    assert [len(frames(by_count, n)) for n in range(3)] == [1, 3, 3]
    assert [number(picture) for _, picture in frames(by_count, 1)] == [0, 2, 4]
    many = extract(tmp_path / "many", short, count=50)
    assert [number(picture) for _, picture in frames(many)] == [0, 1, 2, 3, 4]


def test_bytes_are_the_same_whatever_the_cores_and_the_company(tmp_path: Path) -> None:
    clips = [media.clip(tmp_path / f"{number}.mp4", 2, rate=rate) for number, rate in enumerate((25, 10))]
    both = extract(tmp_path / "both", *clips, fps=2, frame="64")
    alone = extract(tmp_path / "alone", clips[1], fps=2, frame="64", env={"PYTHONHASHSEED": "1"})
    assert both.output(1).read_bytes() == alone.output().read_bytes()
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(
        "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    )
    single = extract(tmp_path / "single", clips[1], fps=2, frame="64", env={"PYTHONPATH": str(tmp_path / "site")})
    assert single.output().read_bytes() == alone.output().read_bytes()


def test_colours_are_those_of_ffmpeg(tmp_path: Path) -> None:
    """Full and limited range, both matrices, and 10 bits."""
    kinds = {
        "sd.mp4": ("yuv420p", ("-colorspace", "smpte170m")),
        "hd.mp4": ("yuv420p", ("-colorspace", "bt709")),
        "full.mp4": ("yuv420p", ("-color_range", "pc", "-colorspace", "bt709")),
        "deep.mp4": ("yuv420p10le", ("-colorspace", "bt709")),
    }
    # Soft colours: players differ in where, between its pixels, a video's colours lie.
    source = ("-f", "lavfi", "-i", media.footage(steady=True), "-t", "0.2")
    for name, (pix_fmt, tags) in kinds.items():
        media.ffmpeg(*source, "-pix_fmt", pix_fmt, *X264, *tags, tmp_path / name)
        flags = "bicubic+accurate_rnd+full_chroma_int+bitexact"
        media.ffmpeg(
            "-i",
            tmp_path / name,
            "-frames:v",
            "1",
            "-vf",
            f"scale=flags={flags},format=rgb24",
            tmp_path / f"{name}.png",
        )
    run = extract(tmp_path / "job", *[tmp_path / name for name in kinds], count=1)
    for index, name in enumerate(kinds):
        ((_, picture),) = frames(run, index)
        with Image.open(tmp_path / f"{name}.png") as expected:
            assert np.abs(np.asarray(picture, int) - np.asarray(expected.convert("RGB"), int)).mean() <= 1, name
    assert "10-bit" in run.logged(3)
    assert run.logged(0) == ""


@pytest.mark.parametrize(("transfer", "grey"), [("smpte2084", 148), ("arib-std-b67", 191)])
def test_hdr_white_comes_out_bright_and_dark_stays_dark(transfer: str, grey: int, tmp_path: Path) -> None:
    """`grey` is the signal, of 255, of a page of white paper: 203 cd/m2 (ITU-R BT.2408)."""
    source = f"color=0x{grey:02x}{grey:02x}{grey:02x}:s=64x64:r=5:d=0.2,drawbox=w=32:h=64:color=black:t=fill"
    tags = f"setparams=color_trc={transfer}:color_primaries=bt2020:colorspace=bt2020nc:range=tv"
    scaled = f"{source},scale=out_color_matrix=bt2020,format=yuv420p10le,{tags}"
    media.ffmpeg(
        "-f", "lavfi", "-i", scaled, "-c:v", "libx265", "-x265-params", "log-level=error", tmp_path / "hdr.mp4"
    )
    run = extract(tmp_path / "job", tmp_path / "hdr.mp4", count=1, frame="32")
    ((_, picture),) = frames(run)
    dark, white = picture.getpixel((4, 16)), picture.getpixel((28, 16))
    assert max(dark) <= 4
    assert 235 <= min(white) <= max(white) <= 250  # 0.91 of SDR's peak: what is brighter has its place above
    assert "HDR" in run.logged()


def test_clips_are_upright_and_their_pixels_square(tmp_path: Path) -> None:
    halves = "color=red:s=80x40:r=5:d=0.2,drawbox=x=40:w=40:h=40:color=blue:t=fill"
    media.ffmpeg("-f", "lavfi", "-i", halves, *X264, tmp_path / "flat.mp4")
    for degrees in (90, 180, 270):
        turn = ("-display_rotation", str(degrees))
        media.remux(tmp_path / "flat.mp4", tmp_path / f"{degrees}.mp4", before=turn)
        media.ffmpeg("-i", tmp_path / f"{degrees}.mp4", "-frames:v", "1", tmp_path / f"{degrees}.png")
    media.ffmpeg("-i", tmp_path / "flat.mp4", "-vf", "setsar=2/1", *X264, tmp_path / "wide.mp4")
    run = extract(
        tmp_path / "job", *[tmp_path / f"{degrees}.mp4" for degrees in (90, 180, 270)], tmp_path / "wide.mp4", count=1
    )
    for index, degrees in enumerate((90, 180, 270)):
        ((_, picture),) = frames(run, index)
        with Image.open(tmp_path / f"{degrees}.png") as expected:
            assert picture.size == expected.size
            assert np.abs(np.asarray(picture, int) - np.asarray(expected.convert("RGB"), int)).mean() <= 4
    assert frames(run, 3)[0][1].size == (160, 40)


def stills(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Pictures of many kinds, and the colour that the upper left of each shows."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture = Image.new("RGB", (40, 20), (200, 10, 10))
    picture.paste((10, 10, 200), (0, 0, 20, 20))
    picture.save(folder / "turned.jpg", quality=95, exif=exif)
    picture.save(folder / "plain.bmp")
    picture.save(folder / "plain.webp", lossless=True)
    picture.save(folder / "plain.tiff")
    Image.new("RGBA", (20, 20), (9, 9, 9, 0)).save(folder / "clear.png")
    Image.new("CMYK", (20, 20), (0, 0, 0, 255)).save(folder / "print.jpg")
    Image.fromarray(np.full((20, 20), 128 * 257, np.uint16)).save(folder / "deep.png")
    reel = [Image.new("RGB", (20, 20), colour) for colour in ("red", "lime")]
    reel[0].save(folder / "reel.gif", save_all=True, append_images=reel[1:])
    blue = (10, 10, 200)
    return {
        "turned.jpg": blue, "plain.bmp": blue, "plain.webp": blue, "plain.tiff": blue, "clear.png": (255, 255, 255),
        "print.jpg": (0, 0, 0), "deep.png": (128, 128, 128), "reel.gif": (255, 0, 0),
    }  # fmt: skip


def test_still_pictures_have_one_frame_at_0(tmp_path: Path) -> None:
    kinds = stills(tmp_path)
    run = extract(tmp_path / "job", *[tmp_path / name for name in kinds], fps=1)
    for index, (name, colour) in enumerate(kinds.items()):
        ((time, picture),) = frames(run, index)
        assert time == 0
        assert picture.getpixel((2, 2)) == pytest.approx(colour, abs=8), name
    ((_, turned),) = frames(run, 0)
    assert turned.size == (20, 40)


@pytest.mark.parametrize(
    ("size", "rule", "expected"),
    [
        ((1920, 1080), "224", (224, 224)),
        ((1080, 1920), "384x384", (384, 384)),
        ((1920, 1080), "", (768, 432)),
        ((320, 200), "", (320, 200)),
        ((9000, 1), "", (768, 1)),
        ((200_000, 1), "224", (224, 224)),
    ],
)
def test_pictures_are_sized_by_the_rule(size: tuple[int, int], rule: str, expected: tuple[int, int]) -> None:
    assert part("_pictures").fit(Image.new("RGB", size), size, rule).size == expected


def test_sizing_is_that_of_the_models_own_preprocessors() -> None:
    """PIL's, as openai's CLIP and open_clip use it: the short side, rounded down, and then the middle."""
    noise = np.random.default_rng(0).integers(0, 255, (271, 483, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    whole = picture.resize((int(64 * 483 / 271), 64), Image.Resampling.BICUBIC)
    left = round((whole.width - 64) / 2)
    expected = whole.crop((left, 0, left + 64, 64))
    assert part("_pictures").fit(picture, picture.size, "64") == expected
    squashed = picture.resize((48, 48), Image.Resampling.BICUBIC)
    assert part("_pictures").fit(picture, picture.size, "48x48") == squashed


@pytest.mark.parametrize("kind", ["short groups", "hevc, open groups", "transport stream", "hidden frames"])
def test_no_more_is_decoded_than_leads_to_the_frames(kind: str, tmp_path: Path) -> None:
    suffix, video = KINDS[kind]
    clip = numbered(tmp_path / f"clip.{suffix}", 6, *video)
    moments, probe, limit = part("_moments"), part("_media").probe, 10**8
    media_ = probe(clip, limit, 60)
    line = moments.timeline(clip, media_, limit)
    wanted = [line.at(second) for second in (2.5, 5.5)]
    spans = moments._spans(line, wanted)
    place = {packet.stamp: number for number, packet in enumerate(line.packets)}
    decoded = sum(place[last] - place[first] + 1 for first, last in spans)
    assert decoded <= (40 if kind == "short groups" else len(line.packets))
    found = {stamp: frame.pts for stamp, frame in moments.shown(clip, media_, limit, line, wanted)}
    assert found == {stamp: stamp for stamp in wanted}
