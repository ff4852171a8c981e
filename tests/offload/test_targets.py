"""`offload targets add|ls|rm|test`: configured in one line, removed in one, and listed in the order they are tried."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

import services
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
        ("box", "ssh://", "names no host; write it as in ssh://user@host"),
        ("box", "ssh://me:word@host", "no password"),
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
    environments = [f"environment of {name}" for name in services.names()]
    assert steps == ["folder", "Python", "disk", "GPU", *environments, "1 MB there and back"]
    assert "MB/s up" in said.lines[-1]
    assert not list((here / "box/parts").iterdir())


def test_the_first_step_that_fails_is_the_last_and_says_why(here: Path) -> None:
    (here / "file").write_text("in the way")
    offload(here, "targets", "add", "box", f"local://{here}/file")
    said = offload(here, "targets", "test", "box")
    assert said.code == 5
    (line,) = said.lines
    assert line == f"FAIL  folder: box: {here}/file is not a folder that can be written; type: ls -ld {here}/file"


def test_ls_tells_the_state_what_is_known_and_why(here: Path) -> None:
    (here / "file").write_text("in the way")
    offload(here, "targets", "add", "bad", f"local://{here}/file")
    offload(here, "targets", "add", "good", f"local://{here}/box")
    bad, good, local = (line.split("\t") for line in offload(here, "targets", "ls").lines)
    assert bad[:3] == ["bad", "local", "away"]
    assert bad[3].startswith(f"cannot be reached: {here}/file is not a folder")
    assert (good[:3], local[:3]) == (["good", "local", "up"], ["local", "local", "up"])
    assert f"{os.cpu_count()} CPUs, " in good[3]
    assert good[3].endswith(" GB free; the first reachable target in your order")
    rows = offload(here, "targets", "ls", "--json").document
    assert [(row["name"], row["state"], row["reachable"]) for row in rows] == [
        ("bad", "away", False),
        ("good", "up", True),
        ("local", "up", True),
    ]


@pytest.mark.parametrize(
    "words", [("targets", "test", "box"), ("targets", "ls"), ("stabilize", "x.mp4", "--on", "box")]
)
@pytest.mark.parametrize("url", ["ssh://", "ssh://me:word@host", "local:x", "gopher://x"])
def test_a_mistake_in_the_file_is_told_the_same_way_by_all(
    url: str, words: tuple[str, ...], here: Path, offload_dirs: Path
) -> None:
    (here / "x.mp4").write_text("x")
    (offload_dirs / "config/targets.toml").write_text(f'[box]\nurl = "{url}"\n')
    said = offload(here, *words)
    assert said.code == 7
    assert "target" in said.err
    assert "box" in said.err
    assert "edit " in said.err or "targets rm box" in said.err


def test_there_is_no_key_to_trust_on_this_machine(here: Path) -> None:
    said = offload(here, "targets", "trust", "local")
    assert said.code == 2
    assert "no SSH target" in said.err


def test_files_of_a_target_are_written_in_full(here: Path, offload_dirs: Path) -> None:
    (here / "lab.token").write_text("secret")
    added = offload(
        here, "targets", "add", "lab", "jupyter+https://lab:8888/", "--token-file", "lab.token", "--ca", "~/ca"
    )
    assert (added.code, added.out) == (0, b"")
    table = tomllib.loads((offload_dirs / "config/targets.toml").read_text())["lab"]
    assert table["token_file"] == str(here / "lab.token")
    assert Path(table["ca"]).is_absolute()
    assert "~" not in table["ca"]


def test_a_target_of_a_kind_nobody_knows_stops_no_other_command_and_can_be_removed(
    offload_dirs: Path, tmp_path: Path
) -> None:
    file = offload_dirs / "config" / "targets.toml"
    file.write_text('[old]\nurl = "gopher://somewhere"\n')
    assert offload(tmp_path, "jobs", "ls").code == 0
    said = offload(tmp_path, "targets", "ls")
    assert (said.code, "offload targets rm old" in said.err) == (7, True)
    assert offload(tmp_path, "targets", "rm", "old").code == 0
    assert "old" not in file.read_text()
