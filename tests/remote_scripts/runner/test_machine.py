"""What a machine is and has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from _runner import machine


class TestMachine:
    @pytest.mark.parametrize(
        ("says", "gpu"),
        [
            (
                "echo 'NVIDIA H200, 143771, 570.1'",
                {"name": "NVIDIA H200", "memory_bytes": 143771 * 2**20, "driver": "570.1"},
            ),
            ("echo 'NVIDIA GB10, [N/A], 580.0'", {"name": "NVIDIA GB10", "memory_bytes": None, "driver": "580.0"}),
            ("echo 'A, 1, 2'; echo 'B, 3, 4'", {"name": "A", "memory_bytes": 2**20, "driver": "2"}),
            ("echo 'no devices were found'; exit 6", None),
            ("echo garbage", None),
        ],
    )
    def test_a_gpu(self, root: Path, monkeypatch: pytest.MonkeyPatch, says: str, gpu: Any) -> None:
        program = root / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{says}\n")
        program.chmod(0o700)
        monkeypatch.setenv("PATH", str(root), prepend=os.pathsep)
        assert machine.facts(root, {})["gpu"] == gpu
