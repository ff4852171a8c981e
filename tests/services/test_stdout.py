"""stdout carries data and nothing else: paths, or one JSON document, whatever happens."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.services.typed import FAKEWORK, QUICK, STABILIZE, environment, fake, offload, stabilize


def test_paths_are_all_there_is_on_stdout(here: Path, clip_here: Path) -> None:
    said = stabilize(here, "clip.mp4")
    assert said.out == os.fsencode(here / "clip.stabilized.mp4") + b"\n"
    assert said.err.splitlines()[0].startswith("running on local: ")
    assert said.err.splitlines()[1].startswith("clip.mp4 -> clip.stabilized.mp4 (camera jitter ")


def test_quiet_says_nothing_but_errors(here: Path, data: Path) -> None:
    said = fake(here, "a.dat", "-q")
    assert (said.code, said.err) == (0, "")
    said = fake(here, "a.dat", "missing.dat", "-q", "--skip-existing")
    assert (said.code, said.err) == (101, "missing.dat: there is no such file\n")
    (here / "b.dat").write_text("!bad_input")
    assert fake(here, "b.dat", "-q").err == "b.dat: this is no work\n"


def test_noise_of_libraries_stays_off_stdout(here: Path, data: Path) -> None:
    said = fake(here, "a.dat", "--noise")
    assert said.lines == [str(here / "a.worked.bin")]


def test_the_receipt_is_about_what_happened(here: Path, clip_here: Path) -> None:
    document = stabilize(here, "clip.mp4", "--json", "--report", "plot.png").document
    [item], [attempt] = document["items"], document["attempts"]
    assert (document["state"], document["exit_code"], document["error"]) == ("done", 0, None)
    assert item["sha256"] == hashlib.sha256(clip_here.read_bytes()).hexdigest()
    assert item["measured"]["jitter_px"]["after"] < item["measured"]["jitter_px"]["before"]
    assert [Path(output["path"]).name for output in item["outputs"]] == ["clip.stabilized.mp4", "plot.png"]
    for output in item["outputs"]:
        content = Path(output["path"]).read_bytes()
        assert (output["size"], output["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert (attempt["target"], attempt["state"]) == ("local", "done")
    assert {"ffmpeg", "ffmpeg_sha256"} <= set(attempt["versions"])


def item_states(document: dict[str, Any]) -> list[str]:
    return [item["state"] for item in document["items"]]


@pytest.mark.parametrize(
    ("words", "code", "states"),
    [
        (["bad.dat"], 3, ["failed"]),
        (["bad.dat", "a.dat"], 101, ["failed", "done"]),
        (["missing.dat", "a.dat"], 101, ["done"]),
        (["missing.dat"], 3, []),
        (["a.dat", "--trouble", "exit"], 6, ["open"]),
        (["a.dat", "--on", "remote"], 5, ["open"]),
    ],
)
def test_failures_are_one_document_too(here: Path, data: Path, words: list[str], code: int, states: list[str]) -> None:
    (here / "bad.dat").write_text("!bad_input")
    said = fake(here, "--json", *words)
    assert (said.code, said.document["exit_code"]) == (code, code)
    assert item_states(said.document) == states
    assert [entry["error"] for entry in said.document["rejected"]] == ["there is no such file"] * (
        "missing.dat" in words
    )
    assert bool(said.document["error"]) == (code in (5, 6))


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["a.dat", "--bogus"], 2, "--bogus"),
        (["a.dat", "--seconds", "x"], 2, "--seconds"),
        (["a.dat", "-o", "out.txt"], 2, "out.txt"),
        (["a.dat", "--on", "mars"], 2, "mars"),
    ],
)
def test_mistakes_are_one_document_too(here: Path, data: Path, words: list[str], code: int, error: str) -> None:
    said = fake(here, "--json", *words)
    assert (said.code, said.document["exit_code"]) == (code, code)
    assert error in said.document["error"]
    assert error in said.err


def test_what_was_left_alone_is_in_the_document(here: Path, data: Path) -> None:
    assert fake(here, "a.dat").code == 0
    document = fake(here, "a.dat", "--skip-existing", "--json").document
    assert document["skipped"] == [{"input": str(data), "outputs": [str(here / "a.worked.bin")]}]
    assert (document["items"], document["exit_code"]) == ([], 0)


def test_a_reader_that_has_seen_enough_is_no_traceback(here: Path, data: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*FAKEWORK, *QUICK, "-q", "a.dat"], cwd=here, env=environment(), stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
    assert (here / "a.worked.bin").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [(), ("--json",), ("--dry-run",)])
def test_a_full_disk_under_stdout_is_a_sentence(here: Path, data: Path, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*FAKEWORK, *QUICK, "-q", "a.dat", *words], cwd=here, env=environment(), stdout=full, stderr=subprocess.PIPE
        )
    assert (done.returncode, done.stderr.count(b"\n")) == (8, 1)
    assert done.stderr.startswith(b"error: what there is to say cannot be written")


def test_a_locale_without_unicode_is_no_traceback(here: Path, shaky: Path) -> None:
    shutil.copy(shaky, here / "\u65e5.mp4")
    said = stabilize(here, "\u65e5.mp4", "-o", "\U0001f600.mp4", env={"PYTHONIOENCODING": "ascii"})
    assert (said.code, said.lines) == (0, [str(here / "\U0001f600.mp4")])
    assert offload(here, "jobs", "ls", env={"PYTHONIOENCODING": "ascii"}).code == 0


def test_the_reason_is_a_sentence_that_is_true(here: Path, data: Path, offload_dirs: Path) -> None:
    assert fake(here, "a.dat").err.splitlines()[0] == "running on local: no other target to choose from"
    targets = offload_dirs / "config" / "targets.toml"
    targets.write_text(f'[gone]\nurl = "local://{data}/x"\n[near]\nurl = "local://{here}/near"\n')
    plan = fake(here, "a.dat", "--overwrite", "--dry-run", "--json").document["plan"]
    assert [row["reason"].partition(":")[0] for row in plan] == [
        "cannot be reached",
        "the first reachable target in your order",
        "the next in your order",
    ]
    targets.write_text(f'[gone]\nurl = "local://{data}/x"\n')
    plan = fake(here, "a.dat", "--overwrite", "--dry-run", "--json").document["plan"]
    assert plan[1]["reason"] == "no other target can be reached"


# Nothing is done by a dry run


@pytest.mark.parametrize("command", [STABILIZE])
def test_a_dry_run_tells_target_bytes_seconds_and_reason(here: Path, clip_here: Path, command: list[str]) -> None:
    said = stabilize(here, "clip.mp4", "--dry-run", "-o", "new/")
    target, size, seconds, reason, state, phases, known = said.out.decode().rstrip("\n").split("\t")
    assert (said.code, target, size, state) == (0, "local", "0 bytes to send", "ready")
    assert seconds.endswith("a second") or re.fullmatch(r"about \d+ s", seconds)  # as the shipped priors have it
    assert (reason, known) == ("no other target to choose from", "estimated")
    assert re.fullmatch(r"start \d+\.\d \+ run \d+\.\d", phases)
    assert said.err == "clip.mp4 -> new/clip.stabilized.mp4\n"
    document = stabilize(here, "clip.mp4", "--dry-run", "--json").document
    (row,) = document["plan"]
    assert (row["target"], row["reachable"], row["state"], row["send_bytes"]) == ("local", True, "ready", 0)
    assert row["seconds"] == pytest.approx(sum(row["phases"].values()))
    assert (row["reason"], row["known"]["run"], row["known"]["upload"]) == (reason, "estimated", "nothing to do")
    assert document["planned"] == [{"input": str(clip_here), "outputs": [str(here / "clip.stabilized.mp4")]}]
    assert list(here.iterdir()) == [clip_here]
    assert offload(here, "jobs", "ls", "--json").document == []


def test_a_dry_run_counts_the_bytes_that_would_travel(here: Path, data: Path, offload_dirs: Path) -> None:
    (offload_dirs / "config" / "targets.toml").write_text(f'[far]\nurl = "local://{here}/far"\nshare = "no"\n')
    said = fake(here, "a.dat", "--dry-run")
    rows = [line.split("\t")[:2] for line in said.lines]
    assert rows == [["far", "9 bytes to send"], ["local", "0 bytes to send"]]
    assert [line.split("\t")[0] for line in fake(here, "a.dat", "--dry-run", "--on", "far").lines] == ["far"]
    assert not (here / "far").exists()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["a.dat"], 2),
        (["a.dat", "--skip-existing"], 0),
        (["a.dat", "--overwrite"], 0),
        (["b.dat", "-o", "missing/b.bin"], 2),
        (["nothing.dat"], 3),
        (["nothing.dat", "b.dat"], 101),
        (["b.dat", "--on", "remote"], 5),
    ],
)
def test_a_dry_run_ends_as_the_real_one_would_begin(here: Path, data: Path, words: list[str], code: int) -> None:
    (here / "a.worked.bin").write_text("old")
    (here / "b.dat").write_text("more work")
    before = sorted(here.rglob("*"))
    said = fake(here, "--dry-run", *words)
    assert said.code == code, said.err
    assert sorted(here.rglob("*")) == before
    assert (here / "a.worked.bin").read_text() == "old"
