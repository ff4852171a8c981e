"""The pictures a model looks at are those the clip shows at their times, upright, small, and the same each time."""

from __future__ import annotations

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
