"""`offload plan`: where a job would run, how long it would take, and why; and how near such forecasts came."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.executors.sshd import Server, needs_sshd
from tests.services.typed import FAKEWORK, PYTHON, Said, fake, offload, stabilize, type_

WORTH = {"OFFLOAD_WORTH": "1.2"}


@pytest.fixture
def far(here: Path, offload_dirs: Path) -> Path:
    """A target that shares no files, and one that is away."""
    text = f'[far]\nurl = "local://{here}/far"\nshare = "no"\n[gone]\nurl = "local://{here}/clip.mp4/x"\n'
    (offload_dirs / "config/targets.toml").write_text(text)
    return here / "far"


def rows(said: Said) -> list[dict[str, Any]]:
    """A plan's rows."""
    assert said.code == 0, said.err
    found: list[dict[str, Any]] = said.document["plan"]
    return found


def test_every_target_is_told_of_with_how_long_each_phase_takes(here: Path, clip_here: Path, far: Path) -> None:
    said = type_([PYTHON, "-m", "offload", "plan", "stabilize", "clip.mp4", "--json"], here, WORTH)
    assert said.code == 0, said.err
    of = {row["target"]: row for row in rows(said)}
    assert of.keys() == {"far", "gone", "local"}
    assert {name: row["state"] for name, row in of.items()} == {"far": "ready", "gone": "away", "local": "ready"}
    assert of["far"]["send_bytes"] == clip_here.stat().st_size
    for name in ("far", "local"):
        assert of[name]["phases"].keys() == {"upload", "start", "prepare", "run", "download"}
        assert of[name]["seconds"] == pytest.approx(sum(of[name]["phases"].values()), abs=0.01)
        assert of[name]["known"]["run"] == "estimated"
    assert of["far"]["link"] == "a sample"
    assert said.document["plan"][0]["target"] == "local"  # so short a clip is not worth sending
    assert re.search("; far (about|less)", said.document["plan"][0]["reason"])
    assert said.document["planned"][0]["input"] == str(clip_here)
    assert offload(here, "jobs", "ls", "--json").document == []


def test_it_is_what_a_dry_run_says(here: Path, clip_here: Path, far: Path) -> None:
    plan = type_([PYTHON, "-m", "offload", "plan", "stabilize", "clip.mp4", "--fast"], here, WORTH)
    dry = type_([PYTHON, "-m", "services.stabilize", "clip.mp4", "--fast", "--dry-run"], here, WORTH)
    assert plan.code == dry.code == 0
    assert [line.split("\t")[:2] for line in plan.lines] == [line.split("\t")[:2] for line in dry.lines]
    assert sorted(line.split("\t")[4] for line in plan.lines) == ["away", "ready", "ready"]
    assert "local: " in plan.err and "nothing was measured yet on local, far: shipped figures were used" in plan.err
    assert "the link to far was tried with a small file" in plan.err


def test_after_a_job_it_is_measured_and_the_file_is_there(here: Path, clip_here: Path, far: Path) -> None:
    assert stabilize(here, "clip.mp4", "--on", "far").code == 0
    said = type_([PYTHON, "-m", "offload", "plan", "stabilize", "clip.mp4", "--overwrite", "--json"], here, WORTH)
    of = {row["target"]: row for row in rows(said)}
    assert (of["far"]["send_bytes"], of["far"]["known"]["run"]) == (0, "measured once")
    assert of["local"]["known"]["run"] == "measured on far, and scaled"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing", "clip.mp4"], 2, "'nothing' is no service; there are: caption"),
        (["stabilize"], 2, "Missing argument 'INPUT...'"),
        (["stabilize", "gone.mp4"], 3, "there is no such file"),
        (["stabilize", "clip.mp4", "--on", "nobody"], 2, "no target named 'nobody'"),
        (["stabilize", "clip.mp4", "--crf", "99"], 2, "--crf"),
        (["--calibrate", "plot.txt"], 2, "it must end in .png"),
        (["--calibrate", "plot.png", "stabilize"], 2, "takes no 'stabilize'"),
        (["--calibrate", "no/folder/plot.png"], 2, "there is no such folder"),
        (["--calibrate", "there.png"], 2, "add --overwrite to replace it"),
        (["--calibrate", "folder.png", "--overwrite"], 2, "this is no file"),
        (["--calibrate", f"{'x' * 300}.png"], 2, "File name too long"),
    ],
)
def test_what_makes_no_sense_is_said(words: list[str], code: int, said: str, here: Path, clip_here: Path) -> None:
    (here / "there.png").write_bytes(b"mine")
    (here / "folder.png").mkdir()
    done = offload(here, "plan", *words)
    assert done.code == code, done.err
    assert said in done.err
    assert (here / "there.png").read_bytes() == b"mine"


def test_options_may_come_first_and_help_is_a_command_to_type(here: Path, clip_here: Path) -> None:
    assert offload(here, "plan", "--json", "stabilize", "clip.mp4").document["planned"]
    assert offload(here, "plan", "stabilize").err.endswith("offload stabilize --help\n")


def test_a_rule_is_heard_by_a_plan_and_by_a_job_alike(here: Path, data: Path, far: Path, offload_dirs: Path) -> None:
    (offload_dirs / "config/config.toml").write_text(f'[[rules]]\nfolder = "{here}"\non = "local"\n')
    for words in (["--dry-run"], []):
        said = fake(here, "a.dat", "--on", "far", *words)
        assert said.code == 2, said.err
        assert "rule 1 in " in said.err and "may not go to far" in said.err
    mine, *others = rows(fake(here, "a.dat", "--dry-run", "--json"))
    assert (mine["target"], mine["state"], mine["reason"]) == ("local", "ready", "no other target may have it")
    assert [(row["target"], row["state"]) for row in others] == [("far", "closed"), ("gone", "closed")]
    assert all("rule 1 in " in row["reason"] and "never leaves this machine" in row["reason"] for row in others)
    assert fake(here, "a.dat").code == 0
    assert not far.exists()


def test_what_waits_for_another_machine_is_not_planned_here(here: Path, data: Path, clip_here: Path, far: Path) -> None:
    said = fake(here, "a.dat", "--when", "remote", "--dry-run", "--json")
    assert [(row["target"], row["state"]) for row in rows(said)] == [
        ("far", "ready"),
        ("gone", "away"),
        ("local", "closed"),
    ]
    assert "--when remote waits for another machine" in rows(said)[-1]["reason"]
    waits = fake(here, "a.dat", "--when", "remote", "--dry-run", "--on", "gone,local")
    assert (waits.code, [line.split("\t")[4] for line in waits.lines]) == (0, ["away", "closed"])
    assert "it would wait for one" in waits.err


@pytest.mark.parametrize("rule", ['service = "stabilise"\non = "local"', 'service = "fake"'])
def test_a_rule_that_would_never_hold_is_an_error(rule: str, here: Path, data: Path, offload_dirs: Path) -> None:
    (offload_dirs / "config/config.toml").write_text(f"[[rules]]\n{rule}\n")
    said = fake(here, "a.dat")
    assert said.code == 7, said.err
    assert "rule 1 in " in said.err
    assert not (here / "a.worked.bin").exists()


def test_a_rule_about_another_services_work_is_none_of_ours(here: Path, data: Path, offload_dirs: Path) -> None:
    (offload_dirs / "config/config.toml").write_text('[[rules]]\nservice = "tag"\non = "local"\n')
    assert fake(here, "a.dat").code == 0


def past(dirs: Path, forecast: str, took: float) -> None:
    """Let the journal's only job have been forecast so, and have taken so long."""
    with sqlite3.connect(dirs / "state/journal.sqlite3") as journal:
        journal.execute("UPDATE attempts SET forecast = ?, ended = started + ?", (forecast, took))


def test_calibration_draws_what_was_expected_against_what_it_took(here: Path, data: Path, offload_dirs: Path) -> None:
    pytest.importorskip("matplotlib")
    assert fake(here, "a.dat").code == 0
    past(offload_dirs, '{"start": 1.0, "run": 7.0, "prepare": 99}', 10.0)
    said = offload(here, "plan", "--calibrate", "plot.png")
    assert said.lines == [str(here / "plot.png")]
    assert said.err == "fake\tlocal\t1 jobs\tmedian error 20%\n"
    assert (here / "plot.png").read_bytes().startswith(b"\x89PNG")
    (here / "again.png").write_bytes(b"mine")
    document = offload(here, "plan", "--calibrate", "again.png", "--json", "--overwrite").document
    assert (here / "again.png").read_bytes() == (here / "plot.png").read_bytes()
    assert document["errors"] == [{"service": "fake", "target": "local", "jobs": 1, "median_error": 0.2}]


def test_calibration_without_a_history_is_an_empty_picture(here: Path) -> None:
    pytest.importorskip("matplotlib")
    said = offload(here, "plan", "--calibrate", "plot.png")
    assert (said.code, said.err) == (0, "")
    assert (here / "plot.png").exists()


def test_calibration_without_matplotlib_says_what_to_install(here: Path) -> None:
    (here / "matplotlib").mkdir()
    (here / "matplotlib/__init__.py").write_text("raise ImportError('no', name='matplotlib')")
    from tests.services.typed import ROOT

    said = type_([PYTHON, "-m", "offload", "plan", "--calibrate", "p.png"], here, {"PYTHONPATH": f"{here}:{ROOT}"})
    assert said.code == 4
    assert "matplotlib is not installed here" in said.err
    assert "pip install 'offload-broker[report]'" in said.err
    assert not (here / "p.png").exists()


@needs_sshd
def test_a_plan_over_ssh_tries_the_link_and_a_job_measures_it(here: Path, tmp_path: Path, offload_dirs: Path) -> None:
    server = Server(tmp_path / "sshd")
    server.start()
    try:
        lines = [f"{key} = {value!r}" for key, value in server.options().items()]
        (offload_dirs / "config/targets.toml").write_text("\n".join(["[box]", *lines]))
        (here / "a.dat").write_bytes(bytes(range(256)) * 8000)
        plan = [*FAKEWORK, "a.dat", "--on", "box", "--dry-run", "--json"]
        (first,) = type_(plan, here, WORTH).document["plan"]
        assert (first["link"], first["seconds"], first["send_bytes"]) == ("a sample", None, 2_048_000)
        assert type_([*FAKEWORK, "--seconds", "0.1", "a.dat", "--on", "box"], here).code == 0
        (again,) = type_([*plan, "--seconds", "0.1", "--overwrite"], here, WORTH).document["plan"]
        assert (again["link"], again["send_bytes"]) == ("measured once", 0)
        assert again["known"]["run"] == "measured once"
    finally:
        server.kill()
