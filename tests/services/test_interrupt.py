"""Ctrl-C: once is polite and keeps what is finished, twice is at once, and the command printed does the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from broker import settings
from tests.offload.background import said_so
from tests.services.typed import FAKEWORK, OFFLOAD, QUICK, STABILIZE, Word, environment, offload, type_

HANGS = 60.0


@pytest.fixture
def started(here: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Commands under way: none outlives the test."""
    here.with_name("hold").mkdir()
    commands: list[subprocess.Popen[bytes]] = []
    yield commands
    for command in commands:
        if command.poll() is None:
            command.kill()
        command.communicate()


def held(here: Path, *words: Word) -> list[Word]:
    """A command whose items each wait half-way until they may go on."""
    return [*FAKEWORK, *QUICK, "--hold", here.with_name("hold"), *words]


def go_on(here: Path, item: int) -> None:
    """Let an item go on."""
    (here.with_name("hold") / str(item)).touch()


def start(started: list[subprocess.Popen[bytes]], here: Path, *words: Word) -> subprocess.Popen[bytes]:
    """Type such a command and do not wait for it."""
    pipe = subprocess.PIPE
    started.append(subprocess.Popen(held(here, *words), cwd=here, env=environment(), stdout=pipe, stderr=pipe))
    return started[-1]


def wait_for(folder: Path, pattern: str, command: subprocess.Popen[bytes]) -> None:
    """Wait until something in `folder` is as `pattern`."""
    end = time.monotonic() + HANGS
    while not list(folder.glob(pattern)):
        assert command.poll() is None, command.communicate()
        assert time.monotonic() < end, f"{pattern} never came"
        time.sleep(0.02)


def wait_for_job(command: subprocess.Popen[bytes]) -> None:
    """Wait until the script is at work."""
    wait_for(settings.load().cache_dir / "local" / "jobs", "*/out/*/*", command)


def interrupt(command: subprocess.Popen[bytes]) -> tuple[bytes, str]:
    """Ctrl-C; returns what it said on stdout and stderr."""
    command.send_signal(signal.SIGINT)
    out, err = command.communicate(timeout=HANGS)
    assert command.returncode == 130, err
    assert b"Traceback" not in err
    return out, err.decode()


def resume(err: str, here: Path) -> subprocess.CompletedProcess[bytes]:
    """Do in a shell what the message says to type, and let nothing wait."""
    _, command = err.split("To do the rest:\n  ")
    for item in range(2):
        go_on(here, item)
    return subprocess.run(["sh", "-c", command], cwd=here, env=environment(), capture_output=True)


def leftovers(here: Path) -> list[str]:
    """What should not be: half files here, and processes of a job."""
    parts = [path.name for path in here.rglob("*") if path.name.endswith(".part")]
    root = str(settings.load().cache_dir)
    alive = [
        process for process in psutil.process_iter(["cmdline", "cwd"]) if str(process.info["cwd"]).startswith(root)
    ]
    return parts + [str(process.info["cmdline"]) for process in alive]


def test_what_is_finished_is_kept_and_the_rest_can_be_done(here: Path, started: list[subprocess.Popen[bytes]]) -> None:
    for name in ("a.dat", "b.dat"):
        (here / name).write_text(name)
    command = start(started, here, "a.dat", "b.dat")
    go_on(here, 0)
    wait_for(here, "a.worked.bin", command)
    out, err = interrupt(command)
    assert out == os.fsencode(here / "a.worked.bin") + b"\n"
    assert "stopped; 1 of 2 done" in err
    assert leftovers(here) == []
    first = (here / "a.worked.bin").stat()
    done = resume(err, here)
    assert done.returncode == 0, done.stderr
    assert (here / "a.worked.bin").stat() == first
    assert (here / "b.worked.bin").exists()


def test_what_existed_before_is_not_taken_for_done(here: Path, started: list[subprocess.Popen[bytes]]) -> None:
    for name in ("a.dat", "b.dat"):
        (here / name).write_text(name)
    (here / "b.worked.bin").write_text("old")
    command = start(started, here, "--overwrite", "a.dat", "b.dat")
    go_on(here, 0)
    wait_for(here, "a.worked.bin", command)
    _, err = interrupt(command)
    first = (here / "a.worked.bin").stat()
    done = resume(err, here)
    assert done.returncode == 0, done.stderr
    assert (here / "a.worked.bin").stat() == first
    assert (here / "b.worked.bin").read_bytes() != b"old"


def test_the_command_holds_for_any_names(here: Path, started: list[subprocess.Popen[bytes]]) -> None:
    names = ["-a 'b'.dat", "z\n\x1b[31m$(touch owned) \udcff.dat"]
    for name in names:
        (here / name).write_text(name, errors="surrogateescape")
    command = start(started, here, "-q", "-o", "to here/", "--", *names)
    go_on(here, 0)
    wait_for(here, "to here/-a 'b'.worked.bin", command)
    _, err = interrupt(command)
    assert "\x1b" not in err
    done = resume(err, here)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (here / "to here").iterdir()) == sorted(
        name.replace(".dat", ".worked.bin") for name in names
    )
    assert not (here / "owned").exists()


def test_nothing_done_means_the_same_command_again(
    here: Path, data: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    command = start(started, here, "a.dat", "-o", "new/", "--digest")
    wait_for_job(command)
    out, err = interrupt(command)
    assert out == b""
    assert "stopped; 0 of 1 done" in err
    assert leftovers(here) == []
    assert resume(err, here).returncode == 0
    assert sorted(path.name for path in (here / "new").iterdir()) == ["a.worked.bin", "a.worked.txt"]


def test_an_interruption_is_one_document_too(here: Path, data: Path, started: list[subprocess.Popen[bytes]]) -> None:
    command = start(started, here, "a.dat", "--json")
    wait_for_job(command)
    out, _ = interrupt(command)
    document = json.loads(out)
    assert (document["state"], document["exit_code"]) == ("cancelled", 130)
    assert document["error"]


def test_twice_is_at_once(
    here: Path, data: Path, started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_CANCEL_GRACE", str(10 * HANGS))
    command = start(started, here, "a.dat", "--family", "--seconds", str(10 * HANGS))
    wait_for_job(command)
    command.send_signal(signal.SIGINT)
    assert command.stderr is not None
    while b"stopping" not in command.stderr.readline():
        assert command.poll() is None
    time.sleep(0.2)
    _, err = interrupt(command)
    assert "stopped; 0 of 1 done" in err
    assert leftovers(here) == []


def test_cancelled_from_elsewhere_is_told_here(here: Path, data: Path, started: list[subprocess.Popen[bytes]]) -> None:
    command = start(started, here, "a.dat")
    wait_for_job(command)
    [job] = offload(here, "jobs", "ls", "--json").document
    said = offload(here, "jobs", "cancel", job["job"])
    assert (said.code, said.out) == (0, b"")
    assert job["job"] in said.err
    _, err = command.communicate(timeout=HANGS)
    assert command.returncode == 130
    assert b"stopped; 0 of 1 done" in err
    assert leftovers(here) == []


def test_the_same_command_goes_on_after_a_kill(here: Path, data: Path, started: list[subprocess.Popen[bytes]]) -> None:
    command = start(started, here, "a.dat")
    wait_for_job(command)
    command.kill()
    command.wait()
    assert [job["state"] for job in offload(here, "jobs", "ls", "--json").document] == ["interrupted"]
    doctor = offload(here, "doctor")
    assert doctor.code == 0
    assert b"was interrupted" in doctor.out
    go_on(here, 0)
    said = type_(held(here, "a.dat"), here)
    assert said.code == 0
    assert "going on with job" in said.err
    assert len(offload(here, "jobs", "ls", "--json").document) == 1


def test_one_job_is_driven_once(here: Path, data: Path, started: list[subprocess.Popen[bytes]]) -> None:
    command = start(started, here, "a.dat")
    wait_for_job(command)
    other = start(started, here, "a.dat")
    assert "going on" not in said_so(other, b"seen through by another process")
    go_on(here, 0)
    out, err = other.communicate(timeout=HANGS)
    assert (other.returncode, out) == (0, os.fsencode(here / "a.worked.bin") + b"\n")
    assert b"going on" not in err
    assert command.wait(HANGS) == 0
    assert len(offload(here, "jobs", "ls", "--json").document) == 1


@pytest.mark.parametrize("command", [(*OFFLOAD, "stabilize"), STABILIZE])
def test_the_command_that_jobs_show_prints_can_be_typed(here: Path, clip_here: Path, command: tuple[str, ...]) -> None:
    assert type_([*command, "--zoom=-3", "clip.mp4", "--on", "local"], here).code == 0
    [job] = offload(here, "jobs", "ls", "--json").document
    shown = offload(here, "jobs", "show", job["job"]).lines[1]
    assert shown.endswith(" ".join([*command[1:], "--on=local", "--zoom=-3", "clip.mp4"]))
    (here / "clip.stabilized.mp4").unlink()
    subprocess.run(["sh", "-c", shown], cwd=here, env=environment(), check=True, capture_output=True)
    assert (here / "clip.stabilized.mp4").exists()
