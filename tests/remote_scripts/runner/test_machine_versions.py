"""What a receipt says of the machine that a job ran on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from _runner import interpreters, machine

from tests.remote_scripts.runner.there import There, seen

QUERY = "Tesla T4, 15360, 550.54.15"
TABLE = "| NVIDIA-SMI 550.54.15    Driver Version: 550.54.15    CUDA Version: 12.4     |"
GPU = {"gpu": "Tesla T4", "gpu_memory_bytes": 15360 * 2**20, "driver": "550.54.15"}
SMI = """#!/bin/sh
case "$*" in
    "") {table} ;;
    "--query-gpu=name,memory.total,driver_version --format=csv,noheader,nounits") {query} ;;
    *) exit 2 ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def smi(folder: Path, table: str, query: str) -> None:
    """Put a program on the path that says this where it is asked as nvidia-smi is."""
    (folder / "nvidia-smi").write_text(SMI.format(table=table, query=query))
    (folder / "nvidia-smi").chmod(0o700)


class TestMachine:
    def test_its_gpu_with_what_drives_it_and_its_memory(self, folder: Path) -> None:
        smi(folder, f"echo; echo '{TABLE}'", f"echo '{QUERY}'; echo 'B, 1, 2'")
        told = machine.versions()
        memory = told.pop("memory_bytes")
        assert told == {**GPU, "cuda": "12.4"}
        assert 2**28 < memory < 2**50

    @pytest.mark.parametrize(
        ("table", "cuda"),
        [
            ("echo 'CUDA UMD Version: 13.1'", {"cuda": "13.1"}),
            ("echo 'CUDA Version : 13'", {"cuda": "13"}),
            ("echo 'CUDA Version: N/A'", {}),
            ("echo 'CUDA Version: 12.4'; exit 1", {}),
        ],
    )
    def test_the_heading_may_be_another(self, folder: Path, table: str, cuda: dict[str, str]) -> None:
        smi(folder, table, f"echo '{QUERY}'")
        assert {**machine.versions(), "memory_bytes": 0} == {**GPU, **cuda, "memory_bytes": 0}

    @pytest.mark.parametrize("query", ["exit 9", "echo 'No devices were found'", "echo"])
    def test_without_a_gpu_nothing_is_said_of_one(self, folder: Path, query: str) -> None:
        smi(folder, f"echo '{TABLE}'", query)
        assert set(machine.versions()) == {"memory_bytes"}

    def test_nor_without_the_program(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        assert set(machine.versions()) == {"memory_bytes"}


class TestTorch:
    @pytest.mark.parametrize(
        ("text", "cuda"),
        [
            ("from typing import Optional\ncuda: Optional[str] = '12.4'\nhip: Optional[str] = None\n", "12.4"),
            ("__all__ = ['cuda']\ndebug = False\ncuda = \"11.8\"\n", "11.8"),
            ("cuda: Optional[str] = None\nhip: Optional[str] = '6.1'\n", None),
            ("# cuda = '9'\n", None),
        ],
    )
    def test_the_cuda_it_was_made_for_is_read_and_not_imported(
        self, tmp_path: Path, text: str, cuda: str | None
    ) -> None:
        there = There(tmp_path / "there")
        there.install("torch", "2.5", files={"torch/__init__.py": "raise OSError", "torch/version.py": text})
        found = interpreters.at(str(there.python), ["torch"])
        assert found is not None
        assert (found.packages, found.torch_cuda) == ({"torch": "2.5"}, cuda)

    @pytest.mark.parametrize("file", ["torch.py", "torch/more.py", "other.py"])
    def test_one_that_does_not_say(self, tmp_path: Path, file: str) -> None:
        there = There(tmp_path / "there")
        there.install("torch", "2.5", files={file: ""})
        found = interpreters.at(str(there.python), ["torch"])
        assert found is not None
        assert found.torch_cuda is None
        assert seen(str(there.python), "torch")[0][0] == "2.5"
