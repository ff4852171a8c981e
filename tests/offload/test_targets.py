"""`offload targets add|rm|test`: configured in one line, removed in one, and examined step by step."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker import settings, targets
from tests.services.typed import offload


def configured() -> list[str]:
    return list(targets.load(settings.load()))


def test_a_target_is_added_and_named_by_ls(here: Path) -> None:
    said = offload(here, "targets", "add", "box", f"local://{here}/box")
    assert said.code == 0, said.err
    assert "offload targets test box" in said.err
    assert [line.split("\t")[0] for line in offload(here, "targets", "ls").lines] == ["box", "local"]


def test_what_the_user_wrote_in_the_file_stays(here: Path, offload_dirs: Path) -> None:
    file = offload_dirs / "config/targets.toml"
    file.write_text('# my machines\n[old]\nurl = "local:///old" # the loud one\n')
    offload(here, "targets", "add", "box", "local:///box")
    assert "# my machines" in file.read_text()
    assert "# the loud one" in file.read_text()
    assert configured() == ["old", "box", "local"]
    assert offload(here, "targets", "rm", "old").code == 0
    assert configured() == ["box", "local"]
    assert not list(file.parent.glob(".targets*"))


@pytest.mark.parametrize(
    ("name", "url", "what"),
    [
        ("local", "local:///x", "a target local already"),
        ("auto", "local:///x", "cannot be a target's name"),
        ("a b", "local:///x", "cannot be a target's name"),
        ("box", "gopher://x", "gopher"),
        ("box", "local:x", "in full"),
    ],
)
def test_what_makes_no_target_is_refused_and_nothing_is_written(here: Path, name: str, url: str, what: str) -> None:
    said = offload(here, "targets", "add", name, url)
    assert said.code == 2
    assert what in said.err
    assert configured() == ["local"]


def test_a_name_is_taken_once(here: Path) -> None:
    offload(here, "targets", "add", "box", "local:///one")
    said = offload(here, "targets", "add", "box", "local:///two")
    assert said.code == 2
    assert "offload targets rm box" in said.err


@pytest.mark.parametrize("name", ["local", "nobody"])
def test_only_what_was_added_can_be_removed(here: Path, name: str) -> None:
    assert offload(here, "targets", "rm", name).code == 2


def test_a_good_target_passes_every_step(here: Path) -> None:
    offload(here, "targets", "add", "box", f"local://{here}/box")
    said = offload(here, "targets", "test", "box")
    assert said.code == 0, said.out + said.err
    steps = [line[6:].partition(":")[0] for line in said.lines]
    assert steps == ["reach", "key and login", "Python", "disk", "GPU", "stabilize", "1 MB there and back"]
    assert "MB/s up" in said.lines[-1]


def test_the_first_step_that_fails_is_the_last_and_says_why(here: Path) -> None:
    (here / "file").write_text("in the way")
    offload(here, "targets", "add", "box", f"local://{here}/file")
    said = offload(here, "targets", "test", "box")
    assert said.code == 5
    assert [line[:4] for line in said.lines] == ["FAIL"]
    assert "file" in said.lines[0]


def test_there_is_no_key_to_trust_on_this_machine(here: Path) -> None:
    said = offload(here, "targets", "trust", "local")
    assert said.code == 2
    assert "no SSH target" in said.err
