"""Report: faster-whisper's time for what openai-whisper does, with the same random weights of the size of `base`.

    python benchmarks/engines.py [--rounds 3] [--seconds 60]

Each is the script `transcribe.py` as a whole process, with both cores, on the same sound. The weights say the same text
whatever they hear, so both engines write the same words: that tells of speed, and nothing of quality.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from interleave import race, report, run

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.checkpoints import whisper  # noqa: E402
from tests.media import ffmpeg  # noqa: E402


def job(folder: Path, engine: str, model: Path, sound: Path) -> Path:
    """A job's folder for the script."""
    (folder / "in").mkdir(parents=True)
    (folder / "models/model").mkdir(parents=True)
    shutil.copy(sound, folder / "in/0.flac")
    for file in model.iterdir() if model.is_dir() else [model]:
        (folder / "models/model" / file.name).symlink_to(file)
    params = {"engine": engine, "model": "base", "language": "en", "format": ["srt"], "threads": os.cpu_count()}
    others = {"task": "transcribe", "translate": False, "word_timestamps": False, "vad": False, "initial_prompt": ""}
    more = {"beam_size": 1, "compute_type": "float32", "window": 300}
    spec = {"params": params | others | more, "limits": {"pixels": 1, "seconds": 1e6}, "models": ["model"]}
    items = [{"index": 0, "input": "in/0.flac", "options": {}}]
    (folder / "job.json").write_text(json.dumps({"id": "x", "service": "transcribe", **spec, "items": items}))
    return folder


def written(jobs: list[Path]) -> str:
    """What the engines wrote, compared."""
    faster, reference = ((folder / "out/0/transcript.srt").read_text() for folder in jobs)
    return f"both wrote the same {reference.count('-->')} cues" if faster == reference else "they wrote different cues"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=60)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        sound = here / "sound.flac"
        ffmpeg("-f", "lavfi", "-i", "sine=frequency=300", "-t", str(chosen.seconds), "-ar", "16000", "-ac", "1", sound)
        theirs = whisper.write(here / "base.pt", shape=whisper.BASE)
        ours = whisper.convert(theirs, here / "converted")
        jobs = [job(here / name, name, model, sound) for name, model in (("faster-whisper", ours), ("whisper", theirs))]
        script = ROOT / "remote_scripts/transcribe.py"
        faster, reference = (
            lambda folder=folder: run(sys.executable, script, "job.json", cwd=folder) for folder in jobs
        )
        timing = race(faster, reference, chosen.rounds)
        report(
            f"faster-whisper (ours) and openai-whisper (theirs), {chosen.seconds} s of sound",
            timing,
            f"{written(jobs)}: a report, no aim",
        )


if __name__ == "__main__":
    main()
