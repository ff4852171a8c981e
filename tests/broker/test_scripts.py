"""The scripts as a bundle under a name made of their content, and what a script's header asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from broker import scripts
from broker.errors import OffloadError
from tests.fakework.fake import SERVICE
from tests.kill.rounds import ROOT


def bundle(script: Path) -> scripts.Bundle:
    """The bundle as a new process would see it."""
    scripts.bundle.cache_clear()
    return scripts.bundle(script)


def test_a_bundle_holds_the_runner_the_scripts_and_a_script_of_ones_own() -> None:
    assert isinstance(SERVICE.script, Path)
    names = [name for name, _ in bundle(SERVICE.script).files]
    assert {"runner.py", "_runner/jobs.py", "_job.py", "stabilize.py", "work.py"} <= set(names)
    assert names == sorted(names)


def test_its_name_is_made_of_names_and_contents(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("one")
    first = bundle(own).id
    assert bundle(own).id == first
    own.write_text("two")
    assert bundle(own).id != first
    other = tmp_path / "other.py"
    other.write_text("one")
    assert bundle(other).id != first


def test_the_header_of_stabilise_and_the_extras_of_the_project_say_the_same() -> None:
    header = scripts.read_header(scripts.folder() / "stabilize.py")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert sorted(header["dependencies"]) == sorted(project["optional-dependencies"]["stabilize"])
    assert sorted(header["tool"]["offload"]["extras"]["report"]) == sorted(project["optional-dependencies"]["report"])
    assert header["requires-python"] == project["requires-python"]


def test_what_decides_bytes_is_pinned() -> None:
    for need in scripts.read_header(scripts.folder() / "stabilize.py")["dependencies"]:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", need)


def test_extras_add_their_dependencies() -> None:
    script = scripts.folder() / "stabilize.py"
    plain, report = scripts.environment(script, ()), scripts.environment(script, ("report",))
    assert report["dependencies"][: len(plain["dependencies"])] == plain["dependencies"]
    assert any("opencv" in need for need in report["dependencies"])
    assert not any("opencv" in need for need in plain["dependencies"])
    assert "'imageio-ffmpeg==" in plain["install"]


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("print(1)\n", {}),
        ('# /// script\n# dependencies = ["a==1"]\n# ///\nprint(1)\n', {"dependencies": ["a==1"]}),
        ("#!/usr/bin/env python\n# /// script\n#\n# [tool.x]\n# y = 1\n# ///\n", {"tool": {"x": {"y": 1}}}),
    ],
)
def test_headers(text: str, header: dict[str, object], tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text(text)
    assert scripts.read_header(script) == header


@pytest.mark.parametrize("text", ["# /// script\n# a = 1\n", "# /// script\n# a = = 1\n# ///\n"])
def test_a_broken_header_is_a_sentence(text: str, tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text(text)
    with pytest.raises(OffloadError, match=r"own\.py has a broken header"):
        scripts.read_header(script)
