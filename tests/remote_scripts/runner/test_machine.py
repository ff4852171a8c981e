"""What a machine is and has."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from typing import Any

import packaging.tags
import pytest
from _runner import interpreters, machine


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


@pytest.mark.skipif(sys.platform != "linux", reason="targets are Linux machines")
class TestWheels:
    def platforms(self) -> list[str]:
        told = interpreters.wheels() or {}
        return list(told["platforms"])

    def test_those_that_installers_take_are_told_in_their_order(self) -> None:
        best = next(packaging.tags.cpython_tags())
        told = interpreters.wheels_at(sys.executable)
        assert told == {
            "python": ".".join(map(str, sys.version_info[:3])),
            "implementation": "cp",
            "abi": best.abi,
            "platforms": list(packaging.tags.platform_tags()),
        }

    def test_other_machines_have_no_older_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sysconfig, "get_platform", lambda: "linux-aarch64")
        monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.18")
        assert self.platforms() == [
            "linux_aarch64",
            "manylinux_2_18_aarch64",
            "manylinux_2_17_aarch64",
            "manylinux2014_aarch64",
        ]

    @pytest.mark.parametrize("says", [ValueError("unrecognized configuration name"), None, "other 2.36"])
    def test_without_glibc_only_pure_ones(self, monkeypatch: pytest.MonkeyPatch, says: Any) -> None:
        def confstr(name: str) -> Any:
            if isinstance(says, Exception):
                raise says
            return says

        monkeypatch.setattr(sysconfig, "get_platform", lambda: "linux-x86_64")
        monkeypatch.setattr(os, "confstr", confstr)
        assert self.platforms() == ["linux_x86_64"]

    def test_of_another_python_than_cpython_nothing_is_known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys.implementation, "name", "pypy")
        assert interpreters.wheels() is None

    @pytest.mark.parametrize("says", ["exit 127", "echo 3.12", "echo '[]'"])
    def test_a_program_that_is_no_python_tells_nothing(self, tmp_path: Path, says: str) -> None:
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\n{says}\n")
        program.chmod(0o700)
        assert interpreters.wheels_at(str(program)) is None
        assert interpreters.at(str(program), []) is None
