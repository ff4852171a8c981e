"""What a target has already, and takes, is neither downloaded for it nor sent."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker import wheels
from broker.stop import Stop
from broker.wheels import Wants
from tests.remote_scripts.runner.environments import wheel

TAKEN = (("nvidia-cuda", "12.1"), ("torch", "2.5.1+cu121"))
WANTS = Wants("3.12.4", "cp312", ("manylinux_2_17_x86_64",), TAKEN)
TOLD = {"implementation": "cp", "python": "3.12.4", "abi": "cp312", "platforms": list(WANTS.platforms)}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with all the packages that pip finds here: newer torches than the target's, too."""
    settings = {"CONFIG_FILE": os.devnull, "NO_INDEX": "1", "FIND_LINKS": str(tmp_path / "index")}
    for name, value in settings.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    for version in ("2.5.1", "2.9.0", "3.0"):
        wheel(tmp_path / "index", "torch", version, needs=("nvidia-cuda>=12",))
    wheel(tmp_path / "index", "nvidia_cuda", "12.9")
    wheel(tmp_path / "index", "user", needs=("torch>=2.4", "nvidia_cuda"))
    wheel(tmp_path / "index", "newer", needs=("torch>=2.9",))
    return tmp_path / "index"


def names(index: Path, *dependencies: str, wants: Wants = WANTS) -> list[str]:
    return [path.name for path in wheels.collect(dependencies, wants, index.with_name("cache"), Stop())]


def test_the_rest_comes_alone(index: Path) -> None:
    assert names(index, "torch>=2.4,<3", "user") == ["user-1.0-py3-none-any.whl"]
    assert len(names(index, "torch>=2.4,<3", "user", wants=replace(WANTS, taken=()))) == 3, "another request"


def test_where_it_does_not_go_with_the_rest_all_comes(index: Path) -> None:
    found = names(index, "torch>=2.4,<3", "newer")
    assert [name.partition("-py3")[0] for name in found] == ["newer-1.0", "nvidia_cuda-12.9", "torch-2.9.0"]


def test_it_is_read() -> None:
    assert wheels.read({**TOLD, "taken": dict(TAKEN)}) == WANTS
    assert wheels.read(TOLD) == replace(WANTS, taken=())


@pytest.mark.parametrize(
    "taken",
    [
        {"torch": "../x"},
        {"torch": "2/3"},
        {"torch": ""},
        {"torch": 2},
        {"../torch": "2"},
        {"-r": "2"},
        {f"a{number}": "1" for number in range(wheels.MOST_TAKEN + 1)},
        "torch",
        7,
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(taken: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        wheels.read({**TOLD, "taken": taken})
