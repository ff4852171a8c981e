"""Claims: a clip's frames for a model are ready sooner than `ffmpeg -vf fps=1` writes them, and are few bytes.

    python benchmarks/frames.py [CLIP] [--rounds 5]

Without CLIP, a minute of 1080p at 30 frames and 8 Mbit/s a second is made first. ffmpeg is the pinned one; it writes
PNG files of the clip's own size, and then as small as ours: one file of frames of 224x224. Each is a whole process.
Aims: at most 0.8 of the former's time; at most 15 % of the clip's bytes, and for 3 frames of 384x384 at most 5 %.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import imageio_ffmpeg
from interleave import race, report, run

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
SCRIPT = ROOT / "remote_scripts/extract_frames.py"
FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
QUIET = (FFMPEG, "-v", "error", "-nostdin", "-y")
SIZED = "fps=1,scale=-1:224:flags=bicubic,crop=224:224"
TAG, CAPTION = {"fps": 1, "frame": "224"}, {"count": 3, "frame": "384x384"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clip = given.clip.absolute() if given.clip else minute(folder / "minute.mp4")
        (folder / "png").mkdir()
        job(folder / "tag", clip, TAG)
        job(folder / "caption", clip, CAPTION)
        verdict = f"{share(folder / 'tag', clip)}; {share(folder / 'caption', clip)}"
        for filters in ("fps=1", SIZED):
            theirs = (*QUIET, "-i", clip, "-vf", filters, folder / "png/%d.png")
            timing = race(lambda: extract(folder / "tag"), lambda words=theirs: run(*words), given.rounds)
            report(f"frames of {clip.stat().st_size} bytes of video, versus ffmpeg -vf {filters}", timing, verdict)


def minute(path: Path) -> Path:
    """Make a clip that is as hard to code as real footage: a texture seen through a shaking window, and noise."""
    from tests.media import footage

    source = f"{footage((1920, 1080), 30)},noise=alls=6:allf=t"
    rate = ("-b:v", "8M", "-maxrate", "8M", "-bufsize", "16M")
    options = ("-t", "60", "-c:v", "libx264", "-preset", "veryfast", "-g", "60", *rate, "-pix_fmt", "yuv420p")
    run(*QUIET, "-f", "lavfi", "-i", source, *options, path)
    return path


def job(folder: Path, clip: Path, params: dict[str, Any]) -> None:
    """Write a job directory as the runner would."""
    (folder / "in").mkdir(parents=True)
    (folder / "in/0.mp4").symlink_to(clip)
    limits = {"pixels": 40_000_000, "seconds": 14_400}
    items = [{"index": 0, "input": "in/0.mp4", "options": {}}]
    spec = {"id": "bench", "service": "bench", "params": params, "limits": limits, "items": items}
    (folder / "job.json").write_text(json.dumps(spec))


def extract(folder: Path) -> Path:
    """Run the job anew; returns its file of frames."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    run(sys.executable, SCRIPT, "job.json", cwd=folder)
    return folder / "out/0/frames.mov"


def share(folder: Path, clip: Path) -> str:
    """What the frames weigh, set against the clip."""
    size = extract(folder).stat().st_size
    return f"{folder.name}: {size} bytes, {100 * size / clip.stat().st_size:.1f} % of the clip"


if __name__ == "__main__":
    main()
