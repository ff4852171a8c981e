"""Nothing heavy is imported before it is needed: `--help` answers at once, and a client needs no model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.services.typed import PYTHON, type_

HEAVY = {"torch", "av", "cv2", "paramiko", "numpy", "matplotlib", "imageio_ffmpeg", "tenacity", "asyncio"}
LATER = {"rich", "sqlite3"}

REPORT = """
import atexit, json, runpy, sys
atexit.register(lambda: print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr))
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def imported(here: Path, *words: str) -> tuple[int, set[str]]:
    """Exit code of a command, and the top-level modules it had imported when it ended."""
    said = type_([PYTHON, "-W", "ignore", "-c", REPORT, *words], here)
    return said.code, set(json.loads(said.err.splitlines()[-1]))


@pytest.mark.parametrize(
    "words", [("services.stabilize", "--help"), ("offload", "--help"), ("offload", "stabilize", "--help")]
)
def test_help_imports_nothing_heavy(here: Path, words: tuple[str, ...]) -> None:
    code, names = imported(here, *words)
    assert code == 0
    assert "click" in names
    assert not names & (HEAVY | LATER)


def test_a_client_that_stabilises_imports_nothing_heavy(here: Path, clip_here: Path) -> None:
    code, names = imported(here, "services.stabilize", "clip.mp4")
    assert code == 0
    assert (here / "clip.stabilized.mp4").exists()
    assert "sqlite3" in names
    assert not names & (HEAVY - {"tenacity", "asyncio"})
