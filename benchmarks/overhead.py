"""Claim: the broker costs at most 0.3 s over running the script by hand.

    python benchmarks/overhead.py [--rounds 9]

Both do the same one-second clip; by hand means `python stabilize.py job.json` in a prepared folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg
from interleave import race, report, run

ROOT = Path(__file__).parents[1]
PARAMS = {
    "smoothing": 30,
    "shakiness": 5,
    "zoom": "auto",
    "crf": 18,
    "preset": "medium",
    "to_sdr": False,
    "report": False,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = one_second(folder)
        timing = race(lambda: with_broker(clip, folder), lambda: by_hand(clip, folder / "job"), rounds)
    report("a one-second clip through the broker versus the script by hand", timing, f"costs {timing.difference:.3f} s")


def one_second(folder: Path) -> Path:
    clip = folder / "clip.mp4"
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error"]
    run(*ffmpeg, "-i", ROOT / "examples/handheld.mp4", "-t", "1", "-c", "copy", clip)
    return clip


def with_broker(clip: Path, folder: Path) -> None:
    out = folder / "out.mp4"
    run(sys.executable, "-m", "services.stabilize", clip, "-o", out, "--overwrite", "--no-cache", "-q", cwd=ROOT)


def by_hand(clip: Path, job: Path) -> None:
    shutil.rmtree(job, ignore_errors=True)
    (job / "in").mkdir(parents=True)
    (job / "in/0.mp4").symlink_to(clip)
    item = {"index": 0, "input": "in/0.mp4", "options": {"container": "mp4"}}
    limits = {"pixels": 40_000_000, "seconds": 14_400}
    (job / "job.json").write_text(json.dumps({"params": PARAMS, "limits": limits, "items": [item]}))
    run(sys.executable, ROOT / "remote_scripts/stabilize.py", "job.json", cwd=job)


if __name__ == "__main__":
    main()
