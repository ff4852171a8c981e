"""Claim: eight clips in one job take a third of the time of eight runs, or less: the model is loaded once.

    python benchmarks/batch.py caption|tag [--rounds 3] [--model FOLDER]

Without --model it is a tiny one of random weights: almost all of the time is then what a job costs before the first
clip, which a batch saves. The longer a model thinks about a clip, the less of that is left: name your own to see.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import imageio_ffmpeg
from interleave import environment, race, report, run

ROOT = Path(__file__).parents[1]
CLIPS, SECONDS, AIM = 8, 4, 3.0
MODELS = {"caption": "tests.checkpoints.blip", "tag": "tests.checkpoints.clip"}
SAVE = """
import importlib, pathlib, sys

sys.path.append("remote_scripts")
importlib.import_module("_torch").mend_torchvision()
importlib.import_module(sys.argv[1]).save(pathlib.Path(sys.argv[2]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", choices=MODELS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = [film(folder / f"{number}.mp4", number) for number in range(CLIPS)]
        command = [
            sys.executable,
            "-m",
            f"services.{asked.service}",
            "--model",
            asked.model or tiny(asked.service, folder),
        ]
        command += ["-o", f"{folder}/out/", "--overwrite", "--no-cache", "-q", "--on", "local"]
        timing = race(lambda: one_by_one(command, clips), lambda: together(command, clips), asked.rounds)
    claim = f"{CLIPS} clips of {SECONDS} s, {asked.service}: {CLIPS} runs (ours) versus one job (theirs)"
    report(claim, timing, "as it should be" if timing.ratio >= AIM else f"less than {AIM}")


def film(path: Path, number: int) -> Path:
    source = f"testsrc2=s=640x360:r=25:d={SECONDS},hue=h={number * 360 // CLIPS}"
    ffmpeg = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", source]
    run(*ffmpeg, "-pix_fmt", "yuv420p", path)
    return path


def tiny(service: str, folder: Path) -> Path:
    (folder / "model").mkdir()
    run(sys.executable, "-c", SAVE, MODELS[service], folder / "model", cwd=ROOT)
    return folder / "model"


def one_by_one(command: list[object], clips: list[Path]) -> None:
    forget()
    for clip in clips:
        run(*command, clip, cwd=ROOT)


def together(command: list[object], clips: list[Path]) -> None:
    forget()
    run(*command, *clips, cwd=ROOT)


def forget() -> None:
    """Have the clips prepared anew."""
    shutil.rmtree(environment()["OFFLOAD_CACHE_DIR"], ignore_errors=True)


if __name__ == "__main__":
    main()
