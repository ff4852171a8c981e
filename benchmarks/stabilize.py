"""Claim: stabilise takes no longer than the plain two commands of the same ffmpeg build with default threads.

    python benchmarks/stabilize.py [CLIP] [--rounds 5]

Prints the ratio of wall times (aim: <= 1.05 on 2 cores), and that size and stability are no worse: the jitter is
measured on both decoded results with the same OpenCV tracker.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg
from interleave import race, report, run

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "remote_scripts"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", nargs="?", type=Path, default=ROOT / "examples/handheld.mp4")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(args.clip.absolute(), args.rounds, Path(folder))


def compare(clip: Path, rounds: int, folder: Path) -> None:
    ours, theirs = folder / "ours.mp4", folder / "theirs.mp4"
    timing = race(lambda: stabilize(clip, ours), lambda: plain(clip, theirs, folder), rounds)
    sizes = ours.stat().st_size / theirs.stat().st_size
    steadiness = f"jitter {jitter(ours):.3f} px, theirs {jitter(theirs):.3f}, input {jitter(clip):.3f}"
    verdict = f"size {sizes:.3f} of theirs; {steadiness}"
    report(f"stabilise {clip.name} versus the plain two commands", timing, verdict)


def stabilize(clip: Path, out: Path) -> None:
    run(sys.executable, "-m", "services.stabilize", clip, "-o", out, "--overwrite", "-q", cwd=ROOT)


def plain(clip: Path, out: Path, folder: Path) -> None:
    """What a person types who has read the filter's manual."""
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error", "-i", clip]
    detect = "vidstabdetect=shakiness=5:accuracy=15:result=plain.trf"
    transform = "vidstabtransform=smoothing=30:optalgo=gauss:optzoom=1:interpol=bilinear:crop=keep:input=plain.trf"
    run(*ffmpeg, "-vf", detect, "-f", "null", "-", cwd=folder)
    encode = ["-c:v", "libx264", "-preset", "medium", "-crf", "18", "-c:a", "copy", out]
    run(*ffmpeg, "-vf", f"{transform},format=yuv420p", *encode, cwd=folder)


def jitter(clip: Path) -> float:
    """Rms of the change of inter-frame motion in the decoded clip, px."""
    from _report import measure

    return float(measure(clip).jitter_px)


if __name__ == "__main__":
    main()
