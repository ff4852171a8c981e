"""Runs of any script by hand: parameters, models and inputs in, events out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .runs import LIMITS, Run

SCRIPTS = Path(__file__).parents[2] / "remote_scripts"


def start(
    script: str,
    folder: Path,
    *inputs: Path,
    params: Mapping[str, Any],
    models: Mapping[str, Path] | None = None,
    limits: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    ease: int = 0,
) -> Run:
    """Run a script in a new job directory that is made as the runner would."""
    spec: dict[str, Any] = {"id": "test", "service": "test", "params": params, "limits": LIMITS | dict(limits or {})}
    spec |= {"ease": ease, "models": [*(models or {})], "items": []}
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "in").mkdir(parents=True)
    for index, path in enumerate(inputs):
        place = folder / f"in/{index}{path.suffix}"
        place.symlink_to(path)
        spec["items"].append({"index": index, "input": f"in/{place.name}", "options": {}})
    for role, source in (models or {}).items():
        place = folder / "models" / role
        place.mkdir(parents=True)
        for file in sorted(source.iterdir()) if source.is_dir() else [source]:
            (place / file.name).symlink_to(file)
    (folder / "job.json").write_text(json.dumps(spec))
    command = [sys.executable, str(SCRIPTS / script), "job.json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    return Run(folder, done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr)
