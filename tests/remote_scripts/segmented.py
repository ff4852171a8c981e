"""Stabilise with shorter segments than it has, so that clips of a few seconds are cut; or with none at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .runs import SCRIPT, Run, job

CODE = """
import sys
sys.path.insert(0, {folder!r})
import _cut, _encode
_cut.LEAST_SECONDS, _cut.PAIR_SECONDS, _cut.SHORTEST_SECONDS, _encode.SEARCH = {least}, {pair}, 0.4, 10
import _job, stabilize
sys.exit(_job.run(stabilize.stabilize))
"""


def command(least: float = 2, pair: float = 2.4, prefix: tuple[str, ...] = ()) -> list[str]:
    """What runs stabilise on clips of `least` seconds and more in pairs of segments of `pair` seconds."""
    code = CODE.format(folder=str(SCRIPT.parent), least=least, pair=pair)
    return [*prefix, sys.executable, "-c", code, "job.json"]


def run(folder: Path, words: list[str], env: dict[str, str] | None = None) -> Run:
    """Run a command in a job directory that is there."""
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env={**os.environ, **(env or {})})
    return Run(folder, done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)


def in_segments(folder: Path, clip: Path, prefix: tuple[str, ...] = (), **options: Any) -> Run:
    """Steady a clip in segments of about a second, in a new job directory."""
    return run(job(folder, clip, **options), command(prefix=prefix))


def in_one(folder: Path, clip: Path, **options: Any) -> Run:
    """Steady a clip in one piece, however long it is."""
    return run(job(folder, clip, **options), command(least=1e9))


def pieces(done: Run, stage: str = "") -> list[str]:
    """The names of the checkpoints that a run made."""
    return sorted(event["name"] for event in done.of("checkpoint") if event["name"].startswith(stage))
