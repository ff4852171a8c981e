"""Commands as a person types them: run for real, in a folder of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FAKE = ROOT / "tests" / "fakework" / "fake.py"
PYTHON = sys.executable

STABILIZE = (PYTHON, "-m", "services.stabilize")
OFFLOAD = (PYTHON, "-m", "offload")
FAKEWORK = (PYTHON, str(FAKE))
QUICK = ("--seconds", "0")

Word = str | bytes | Path


@dataclass(frozen=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: bytes
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document that stdout is."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """The paths on stdout."""
        return os.fsdecode(self.out).splitlines()


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, so that the project is found from anywhere, and no CI is suspected."""
    return {
        **{name: value for name, value in os.environ.items() if name != "CI"},
        "PYTHONPATH": str(ROOT),
        **(more or {}),
    }


def type_(
    command: Sequence[Word],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    preexec_fn: Callable[[], object] | None = None,
) -> Said:
    """Run a command to its end. Whatever it did wrong, it must not show a traceback."""
    done = subprocess.run(
        command, cwd=cwd, env=environment(env), stdin=subprocess.DEVNULL, capture_output=True, preexec_fn=preexec_fn
    )
    said = Said(done.returncode, done.stdout, done.stderr.decode())
    assert "Traceback" not in said.err, said.err
    return said


def stabilize(cwd: Path, *words: Word, env: Mapping[str, str] | None = None) -> Said:
    """Type `python -m services.stabilize WORDS...`."""
    return type_([*STABILIZE, *words], cwd, env)


def fake(cwd: Path, *words: Word, env: Mapping[str, str] | None = None) -> Said:
    """Type the command of the fake work, which takes no time."""
    return type_([*FAKEWORK, *QUICK, *words], cwd, env)


def offload(cwd: Path, *words: Word, env: Mapping[str, str] | None = None) -> Said:
    """Type `offload WORDS...`."""
    return type_([*OFFLOAD, *words], cwd, env)


def mortal(command: Sequence[Word]) -> list[Word]:
    """`command` without root's right to read and write everything; as it is for anybody else."""
    if os.geteuid() != 0:
        return list(command)
    powers = "-dac_override,-dac_read_search"
    wrapped = ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}"]
    if shutil.which("setpriv") is None or subprocess.run([*wrapped, "true"], capture_output=True).returncode:
        pytest.skip("root cannot drop its rights here")
    return [*wrapped, *command]
