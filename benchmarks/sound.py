"""Claim: of a clip whose words are to be heard, few bytes travel: its sound alone, at 16 kHz, as FLAC.

    python benchmarks/sound.py [CLIP] [--speech FILE]

Without CLIP, a minute of 1080p at 8 Mbit/s is made first, with the speech of FILE, over and over; else with sound that
has the pitch, the syllables and the hiss of speech. Aim: at most 5 % of the clip's bytes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from frames import QUIET, ROOT, job, minute
from interleave import machine, run

SCRIPT = ROOT / "remote_scripts/extract_sound.py"
PITCH = "(120*t+8*sin(2*PI*0.4*t))"
VOICE = "+".join(f"{0.3 / harmonic:.3f}*sin(2*PI*{harmonic}*{PITCH})" for harmonic in range(1, 20))
SPEECH = f"max(0,sin(2*PI*1.7*t))*({VOICE})+0.1*max(0,sin(2*PI*1.7*t+2.5))*(random(0)-0.5)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", nargs="?", type=Path)
    parser.add_argument("--speech", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        clip = given.clip.absolute() if given.clip else spoken(folder, given.speech)
        job(folder / "job", clip, {})
        run(sys.executable, SCRIPT, "job.json", cwd=folder / "job")
        sound, whole = (path.stat().st_size for path in (folder / "job/out/0/sound.flac", clip))
    print(machine())
    print(f"sound: {sound} bytes, {100 * sound / whole:.1f} % of a clip of {whole}")


def spoken(folder: Path, speech: Path | None) -> Path:
    """Make a minute of a clip in which somebody speaks."""
    silent, clip = minute(folder / "silent.mp4"), folder / "minute.mp4"
    source = ("-stream_loop", "-1", "-i", speech) if speech else ("-f", "lavfi", "-i", f"aevalsrc='{SPEECH}':s=48000")
    coded = ("-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", "-b:a", "128k", "-t", "60")
    run(*QUIET, "-i", silent, *source, *coded, clip)
    return clip


if __name__ == "__main__":
    main()
