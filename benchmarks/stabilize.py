"""Claim: stabilise takes 0.9 of the time of the plain two commands (same ffmpeg build, default threads), or less.

    python benchmarks/stabilize.py [CLIP] [--rounds 5]

Prints the ratio of wall times (aim: <= 0.90 on 2 cores, <= 0.50 with --fast) for clips of 20 s and more, and of ours to
decoding and encoding alone (aim: <= 1.40); then bytes (within 3 %) and PSNR (within 0.1 dB) against theirs, memory of a
worker (<= 400 MB at 1080p), and what 8 cores would make of it (<= 0.50 of theirs for two minutes).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import psutil
from interleave import race, report, run

ROOT = Path(__file__).parents[1]
FFMPEG = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error"]
WARP = (
    "vidstabtransform=smoothing=30:optalgo=gauss:optzoom=1:interpol=bilinear:crop=keep:input=plain.trf,format=yuv420p"
)
X264 = ["-c:v", "libx264", "-preset", "medium", "-crf"]
PARAMS = {"smoothing": 30, "shakiness": 5, "zoom": "auto", "crf": 18, "preset": "medium", "to_sdr": False}


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
    exact = folder / "exact.mp4"
    run(*FFMPEG, "-i", clip, "-vf", WARP, "-c:v", "libx264", "-preset", "ultrafast", "-crf", "0", exact, cwd=folder)
    quality = f"PSNR {psnr(ours, exact):.2f} dB, theirs {psnr(theirs, exact):.2f}"
    report(f"stabilise {clip.name} versus the plain two commands", timing, f"size {sizes:.3f} of theirs; {quality}")
    fast = race(lambda: stabilize(clip, ours, "--fast"), lambda: plain(clip, theirs, folder), max(1, rounds // 2))
    report("stabilise --fast (another result) versus the same", fast, "")
    floor = race(lambda: stabilize(clip, ours), lambda: encode_alone(clip, folder), max(1, rounds // 2))
    report("stabilise versus decoding and encoding alone", floor, "")
    project(look(clip, folder), clip, folder)


def stabilize(clip: Path, out: Path, *more: str) -> None:
    run(sys.executable, "-m", "services.stabilize", clip, "-o", out, "--overwrite", "--no-cache", "-q", *more, cwd=ROOT)


def plain(clip: Path, out: Path, folder: Path) -> None:
    """What a person types who has read the filter's manual."""
    detect(clip, folder)
    run(*FFMPEG, "-i", clip, "-vf", WARP, *X264, "18", "-c:a", "copy", out, cwd=folder)


def detect(clip: Path, folder: Path) -> None:
    watch = "vidstabdetect=shakiness=5:accuracy=15:result=plain.trf"
    run(*FFMPEG, "-i", clip, "-vf", watch, "-f", "null", "-", cwd=folder)


def encode_alone(clip: Path, folder: Path) -> None:
    run(*FFMPEG, "-i", clip, *X264, "18", "-c:a", "copy", folder / "alone.mp4")


def psnr(clip: Path, exact: Path) -> float:
    """Of a result against the same pictures encoded without loss, in dB."""
    command = [FFMPEG[0], "-i", clip, "-i", exact, "-lavfi", "[0:v][1:v]psnr", "-f", "null", "-"]
    log = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stderr
    return float(re.findall(r"PSNR y:([\d.]+)", log)[-1])


@dataclass(frozen=True)
class Look:
    """One run of the script alone: seconds in which no segment was at work, CPU seconds, peak MB of a worker."""

    serial: float
    work: float
    memory: float


def look(clip: Path, folder: Path) -> Look:
    place = folder / "job"
    (place / "in").mkdir(parents=True)
    (place / "in/0.mp4").symlink_to(clip)
    item = {"index": 0, "input": "in/0.mp4", "options": {"container": "mp4"}}
    spec = {"params": {**PARAMS, "report": False}, "limits": {"pixels": 4e7, "seconds": 14400}, "items": [item]}
    (place / "job.json").write_text(json.dumps(spec))
    command = [sys.executable, str(ROOT / "remote_scripts/stabilize.py"), "job.json"]
    before, started = cpu_seconds(), time.monotonic()
    script = subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    peaks: list[float] = []
    threading.Thread(target=watch_memory, args=(script, peaks), daemon=True).start()
    told = [(time.monotonic() - started, json.loads(line)) for line in script.stdout or ()]
    script.wait()
    begun = next(at for at, event in told if event["type"] == "progress")
    ended = max(at for at, event in told if event["type"] == "checkpoint")
    return Look(begun + told[-1][0] - ended, cpu_seconds() - before, max(peaks))


def watch_memory(script: subprocess.Popen[str], peaks: list[float]) -> None:
    """Note the MB of a worker: a share of the script, which encodes for all of them, and the largest ffmpeg."""
    process, workers = psutil.Process(script.pid), min(2, os.cpu_count() or 1)
    while script.poll() is None:
        with contextlib.suppress(psutil.Error):  # one of them has just ended
            children = [child.memory_info().rss for child in process.children()]
            peaks.append((process.memory_info().rss / workers + max(children, default=0)) / 1e6)
        time.sleep(0.05)


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def project(seen: Look, clip: Path, folder: Path) -> None:
    """Print what 8 cores would make of two minutes of such a clip, from what was measured here."""
    seconds = {}
    for name, work in {
        "detect": lambda: detect(clip, folder),
        "warp": lambda: run(*FFMPEG, "-i", clip, "-vf", WARP, "-f", "null", "-", cwd=folder),
    }.items():
        started = time.monotonic()
        work()
        seconds[name] = time.monotonic() - started
    before = cpu_seconds()
    plain(clip, folder / "theirs.mp4", folder)
    longer = 120 / duration(clip)
    ours = seen.serial + longer * seen.work / 8
    second = max(seconds["warp"], (cpu_seconds() - before - seconds["detect"]) / 8)
    print(f"  serial  {seen.serial:8.3f} s of ours; {seen.work:.1f} s of CPU; {seen.memory:.0f} MB a worker")
    print(
        f"  8 cores {ours:8.1f} s for two minutes, theirs {longer * (seconds['detect'] + second):.1f}, by calculation"
    )


def duration(clip: Path) -> float:
    """Of a clip, in seconds."""
    done = subprocess.run([FFMPEG[0], "-i", clip], capture_output=True, text=True, check=False)
    hours, minutes, seconds = re.findall(r"Duration: (\d+):(\d+):([\d.]+)", done.stderr)[0]
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


if __name__ == "__main__":
    main()
