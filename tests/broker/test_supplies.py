"""A target that can download nothing gets its packages from here, or the job ends with what to type."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker import supplies, wheels
from broker.broker import Broker
from broker.errors import MissingHere
from broker.job import Input, Request
from tests.broker.faulty import FaultyExecutor
from tests.broker.jobs import drive, notes, only_job
from tests.remote_scripts.runner.environments import wheel

Box = type[FaultyExecutor]
NOBODY = "http://127.0.0.1:9/"

SCRIPT = """# /// script
# requires-python = ">=3.8"
# dependencies = ["tinypack==1.0"]
# ///
import sys
import tinypack
from _job import Result, run

def work(job, item):
    made = item.out / "made.txt"
    made.write_text(tinypack.__name__)
    return Result((made,), {})

sys.exit(run(work))
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No machine reaches an index, but this one has the wheels in a folder, when it looks for them."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    wheel(folder, needs=("tinydep>=2",))
    wheel(folder, "tinydep", "2.1")
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "UV_NO_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": NOBODY, "UV_INDEX_URL": NOBODY}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(supplies.wheels, "_command", lambda *about: ["env", *_from(folder), *_command(*about)])
    return folder


_command = wheels._command


def _from(folder: Path) -> list[str]:
    return ["PIP_NO_INDEX=1", f"PIP_FIND_LINKS={folder}"]


def asked(folder: Path, number: int = 0) -> Request:
    folder.mkdir(exist_ok=True)
    script, source = folder / "tiny.py", folder / f"{number}.dat"
    script.write_text(SCRIPT)
    source.write_bytes(b"one")
    return Request("tiny", script, {}, (Input(source, {"made.txt": folder / f"{number}.txt"}),), on="box")


def test_the_packages_are_sent_and_the_job_runs_there(box: Box, broker: Broker, shelf: Path, tmp_path: Path) -> None:
    told = drive(broker, asked(tmp_path / "media"))
    assert (tmp_path / "media/0.txt").read_text() == "tinypack"
    assert "box can download nothing; the packages it needs have to come from here" in notes(told)
    (attempt,) = broker.journal.attempts(only_job(broker).id)
    assert (attempt.target, attempt.state) == ("box", "done")
    assert attempt.timings["packages"] > 0
    box.asked.clear()
    drive(broker, asked(tmp_path / "media", 1))
    assert (tmp_path / "media/1.txt").exists()
    assert [word for name, word, _ in box.asked if name == "put"] == []  # the same content, the same environment


def test_what_cannot_be_had_here_either_is_missing_with_what_to_type(
    box: Box, broker: Broker, shelf: Path, tmp_path: Path
) -> None:
    for file in shelf.iterdir():
        file.unlink()
    with pytest.raises(MissingHere, match="this machine found no wheels") as caught:
        drive(broker, asked(tmp_path / "media"))
    assert caught.value.exit_code == 4
    assert "tinypack==1.0" in caught.value.hint
    assert not (tmp_path / "media/0.txt").exists()
    assert list((tmp_path / "box/jobs").iterdir()) == []
