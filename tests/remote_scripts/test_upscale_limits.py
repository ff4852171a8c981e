"""Upscale, and what a machine has: what does not fit into its memory is refused before the work, with what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests import media

from .runs import part
from .scripted import SCRIPTS
from .upscaled import networks, quickly, upscale

__all__ = ["networks"]  # a fixture
LITTLE = "_memory.free_memory = lambda: 1e6"
PEAK = """
import sys
sys.path.insert(0, {scripts!r})
import numpy as np, _stills, _tiles

class Repeats:
    scale = 4

    def __call__(self, pixels):
        return pixels.repeat(4, axis=0).repeat(4, axis=1)

def memory(name):
    # What getrusage tells of a new process includes the one that started it.
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))

kind, suffix, width = sys.argv[1], sys.argv[2], int(sys.argv[3]) or None
shape = (600, 600) if "L" in kind else (600, 600, 3)
values = np.uint16 if "16" in kind else np.uint8
photo = _stills.Photo(np.zeros(shape, values), np.zeros(shape[:2], values) if "A" in kind else None, None, None)
enlarger = _tiles.Enlarger(Repeats(), 128, 4, width, width)
before, work = memory("VmRSS:"), _stills.enlarged(photo, enlarger)
try:
    while True:
        next(work)
except StopIteration as end:
    _stills.write(end.value, _stills.Path("larger" + suffix))
print(memory("VmHWM:") - before, _stills.memory(photo, enlarger, suffix))
"""


@pytest.fixture(scope="module")
def dot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dot") / "one.png"
    Image.new("RGB", (1, 1), (10, 200, 90)).save(path)
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a process's peak is read from /proc")
@pytest.mark.parametrize(
    ("kind", "suffix", "width"),
    [
        *((kind, ".png", width) for kind in ("RGB", "RGBA", "LA", "RGB16", "RGBA16", "L16") for width in (0, 2399)),
        ("RGBA16", ".webp", 0),
        ("RGB16", ".jpg", 0),
    ],
)
def test_a_photo_takes_no_more_memory_than_is_counted_on(tmp_path: Path, kind: str, suffix: str, width: int) -> None:
    command = [sys.executable, "-c", PEAK.format(scripts=str(SCRIPTS)), kind, suffix, str(width)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    taken, counted = map(float, done.stdout.split())
    assert 0.2 * counted < taken < 1.1 * counted


@pytest.mark.parametrize("wanted", [{"width": 60_000, "height": 60_000}, {"scale": 4, "height": 26_000}])
def test_a_result_of_too_many_pixels_is_refused(tmp_path: Path, dot: Path, wanted: dict[str, int]) -> None:
    kind, error = quickly(tmp_path / "job", dot, **wanted).failure()
    assert kind == "limit"
    assert f"x{wanted['height']}, over the limit of 640000000 pixels" in error
    assert "--scale or --height" in error


def test_what_memory_does_not_hold_is_refused_before_the_work(tmp_path: Path, dot: Path) -> None:
    clip = media.clip(tmp_path / "clip.mp4", 0.2, (64, 48), video=("-c:v", "libx264", "-preset", "ultrafast"))
    run = quickly(tmp_path / "job", dot, clip, before=LITTLE, height=600)
    for index, size in enumerate(["600x600", "800x600"]):
        kind, error = run.failure(index)
        assert kind == "limit"
        assert f"a result of {size} takes about" in error
        assert "--scale or --height" in error
        assert not run.of("checkpoint", index)


def test_large_frames_are_held_few_at_a_time() -> None:
    encoder = part("_x264")
    hd, uhd, double = ((1920 * more, 1080 * more) for more in (1, 2, 4))
    assert (encoder.effort("medium", hd).ahead, encoder.effort("medium", hd).references) == (40, 3)
    assert "rc-lookahead=40:ref=3" in encoder.settings({"crf": 18, "preset": "medium"}, hd, 0)["x264-params"]
    assert (
        "rc-lookahead=10:ref=3:bframes=3"
        in encoder.settings({"crf": 18, "preset": "veryslow"}, double, 0)["x264-params"]
    )
    assert encoder.memory("medium", uhd) < 1.6e9  # and not 2.0e9, which it would be for all 40 frames
    for preset in encoder.PRESETS:
        assert encoder.memory(preset, double) < 3.6e9


def test_running_out_of_memory_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    script = part("upscale")
    monkeypatch.setattr(script, "_upscaled", fail)
    with pytest.raises(script.NoMemory, match="--tile 128") as caught:
        script.upscale(None, None)
    assert caught.value.kind == "memory"


def test_where_memory_ran_out_over_a_whole_picture_there_are_tiles(tmp_path: Path, dot: Path, networks: Path) -> None:
    run = upscale(tmp_path / "job", dot, model=networks / "nearest.pth", tile=0, ease=1)
    assert run.of("versions")[0]["versions"]["tile"] == "256"
    assert "256 pixels" in run.logged()
