"""Whole commands against a real sshd: the same bytes as here, and one good result whatever happens to the machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.executors.sshd import Server, make_key, needs_sshd, public, sshd
from tests.executors.test_local import tmpfs
from tests.services.typed import FAKEWORK, STABILIZE, Said, environment, fake, offload, stabilize

pytestmark = needs_sshd

NAP = 0.02
SAMPLE = Path(__file__).parents[2] / "examples/handheld.mp4"
NAMESPACE = ("unshare", "--pid", "--mount-proc", "--fork", "--kill-child")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A machine of its own, with the Python of the tests on its PATH."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with sshd(tmp_path, PATH=path) as server:
        yield server


@pytest.fixture
def box(server: Server, offload_dirs: Path) -> Server:
    """The server, configured as the target `box`."""
    configure(offload_dirs, server)
    return server


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """An input of several parts."""
    path = tmp_path / "clip.dat"
    path.write_bytes(os.urandom(20_000_000))
    return path


def configure(dirs: Path, server: Server, **changed: object) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in server.options(**changed).items()]
    (dirs / "config/targets.toml").write_text("\n".join(["[box]", *lines]))


def wanted(clip: Path) -> bytes:
    """What the work makes of a clip, done here."""
    here = fake(clip.parent, clip, "-o", "here.bin", "--on", "local", "--overwrite")
    assert here.code == 0, here.err
    return (clip.parent / "here.bin").read_bytes()


def receipt(said: Said) -> dict[str, Any]:
    document: dict[str, Any] = said.document
    return document


def tried(said: Said) -> list[tuple[str, str]]:
    return [(attempt["target"], attempt["state"]) for attempt in receipt(said)["attempts"]]


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(NAP)


def start(clip: Path, *words: str) -> subprocess.Popen[str]:
    command = [*FAKEWORK, clip, "-o", "there.bin", "--json", *words]  # of two -o the last counts
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=clip.parent, env=environment(), stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str]) -> Said:
    out, err = process.communicate(timeout=120)
    return Said(process.returncode, out.encode(), err)


def assert_done_here_after_box(said: Said, clip: Path) -> None:
    assert said.code == 0, said.err
    assert tried(said)[-1] == ("local", "done")
    assert "going on with local" in said.err
    assert (clip.parent / "there.bin").read_bytes() == wanted(clip)
    assert not list(clip.parent.glob(".*.part"))


# When all is well


def test_the_same_bytes_there_as_here(box: Server, clip: Path) -> None:
    said = fake(clip.parent, clip, "-o", "there.bin", "--on", "box", "--json")
    assert said.code == 0, said.err
    assert tried(said) == [("box", "done")]
    assert (clip.parent / "there.bin").read_bytes() == wanted(clip)


def test_stabilise_makes_the_same_bytes_there_as_here(box: Server, tmp_path: Path) -> None:
    for target in ("local", "box"):
        said = stabilize(tmp_path, SAMPLE, "-o", f"{target}.mp4", "--on", target, "--preset", "ultrafast", "--json")
        assert tried(said) == [(target, "done")], said.err
    assert (tmp_path / "local.mp4").read_bytes() == (tmp_path / "box.mp4").read_bytes()


def test_nothing_of_the_job_stays_there_but_the_input_for_next_time(box: Server, clip: Path) -> None:
    fake(clip.parent, clip, "-o", "there.bin", "--on", "box")
    root = box.folder / "root"
    assert not list((root / "jobs").iterdir())
    assert [blob.stat().st_size for blob in (root / "blobs").iterdir()] == [clip.stat().st_size]


def test_a_second_upload_sends_nothing(box: Server, clip: Path) -> None:
    fake(clip.parent, clip, "-o", "one.bin", "--on", "box")
    blob = next((box.folder / "root/blobs").iterdir())
    before = blob.stat().st_ino
    fake(clip.parent, clip, "-o", "two.bin", "--on", "box")
    assert blob.stat().st_ino == before
    assert not list((box.folder / "root/parts").iterdir())


def test_a_remote_target_comes_first_by_itself(box: Server, clip: Path) -> None:
    said = fake(clip.parent, clip, "-o", "there.bin", "--json")
    assert tried(said) == [("box", "done")]
    assert "the first reachable target in your order" in receipt(said)["attempts"][0]["reason"]


# When the machine is away


def test_dead_before_the_start(box: Server, clip: Path) -> None:
    box.kill()
    said = fake(clip.parent, clip, "-o", "there.bin", "--json")
    assert_done_here_after_box(said, clip)
    assert "connection refused" in said.err.lower()


def test_dead_before_the_start_and_no_fallback_wanted(box: Server, clip: Path) -> None:
    box.kill()
    said = fake(clip.parent, clip, "--on", "box", "--no-fallback")
    assert said.code == 5
    assert "box" in said.err
    assert not (clip.parent / "clip.worked.bin").exists()


def test_a_black_hole_that_answers_nothing(box: Server, clip: Path) -> None:
    box.pause()
    said = fake(clip.parent, clip, "-o", "there.bin", "--json")
    assert_done_here_after_box(said, clip)


def test_a_dead_target_is_asked_once_for_many_jobs(box: Server, clip: Path) -> None:
    box.kill()
    first, second = (fake(clip.parent, clip, "-o", f"{name}.bin") for name in "ab")
    assert "asked again in" not in first.err
    assert "asked again in" in second.err
    assert first.code == second.code == 0


# When it dies in the middle


def test_killed_in_upload(box: Server, clip: Path) -> None:
    process = start(clip)
    until(lambda: list((box.folder / "root").glob("parts/*/0")) or list((box.folder / "root").glob("blobs/*")))
    box.kill()
    assert_done_here_after_box(finish(process), clip)


def test_killed_in_the_run(box: Server, clip: Path) -> None:
    process = start(clip, "--seconds", "3")
    until(lambda: list((box.folder / "root").glob("jobs/*/out/0/worked.bin")))
    box.kill()
    time.sleep(0.1)
    said = finish(process)
    assert said.code == 0, said.err
    assert tried(said) == [("box", "lost"), ("local", "done")]


def test_killed_in_download(box: Server, clip: Path, tmp_path: Path) -> None:
    process = start(clip, "--seconds", "1")
    until(lambda: "item_done" in "".join(p.read_text() for p in (box.folder / "root").glob("jobs/*/events.jsonl")))
    box.kill()
    said = finish(process)
    assert said.code == 0, said.err
    assert (clip.parent / "there.bin").read_bytes() == wanted(clip)


# When it vanishes: its processes die with their own pid namespace, and its disk is deleted


@pytest.fixture
def machine(tmp_path: Path, offload_dirs: Path) -> Iterator[Server]:
    """A machine that can vanish, configured as the target `box`."""
    yield from mortal_machine(tmp_path, offload_dirs, f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.fixture
def bare_machine(tmp_path: Path, offload_dirs: Path) -> Iterator[Server]:
    """One whose Python has no package of ours."""
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", bare], check=True)
    yield from mortal_machine(tmp_path, offload_dirs, f"{bare}/bin:/usr/bin:/bin")


def mortal_machine(folder: Path, dirs: Path, path: str) -> Iterator[Server]:
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no pid namespace can be made here")
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    server = Server(folder / "machine", {"PATH": path, **pip}, NAMESPACE)
    server.start()
    configure(dirs, server)
    yield server
    vanish(server)


def vanish(server: Server) -> None:
    server.process.kill()  # the namespace goes with the process that holds it
    server.process.wait()
    shutil.rmtree(server.folder / "root", ignore_errors=True)


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        ("parts/*/0", ()),
        ("jobs/*/status.json", ("--seconds", "2")),
        ("jobs/*/out/0/worked.bin", ("--seconds", "2")),
        ("jobs/*/out/1", ("--seconds", "2")),
    ],
    ids=["upload", "start", "run", "second item"],
)
def test_a_machine_that_vanishes(machine: Server, clip: Path, sign: str, words: tuple[str, ...]) -> None:
    second = clip.with_name("second.dat")
    second.write_bytes(b"2")
    process = start(clip, str(second), "-o", "out/", *words)
    until(lambda: list((machine.folder / "root").glob(sign)) or process.poll() is not None)
    vanish(machine)
    said = finish(process)
    assert said.code == 0, said.err
    assert tried(said) == [("box", "lost"), ("local", "done")]
    assert "going on with local" in said.err
    for path in (clip, second):
        assert (clip.parent / f"out/{path.stem}.worked.bin").read_bytes() == wanted(path)


def test_a_machine_that_vanishes_while_its_environment_is_built(bare_machine: Server, tmp_path: Path) -> None:
    command = [*STABILIZE, SAMPLE, "-o", "there.mp4", "--preset", "ultrafast", "--json"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=pipe, stderr=pipe, text=True)
    until(lambda: list((bare_machine.folder / "root").glob("envs/*/*")) or process.poll() is not None)
    vanish(bare_machine)
    said = finish(process)
    assert tried(said) == [("box", "lost"), ("local", "done")], said.err
    assert (tmp_path / "there.mp4").stat().st_size > 100_000


def test_a_machine_with_a_bare_python_gets_what_the_script_needs(bare_machine: Server, tmp_path: Path) -> None:
    words = (SAMPLE, "--preset", "ultrafast", "--json")
    there = stabilize(tmp_path, *words, "-o", "there.mp4", "--on", "box")
    assert tried(there) == [("box", "done")], there.err
    assert stabilize(tmp_path, *words, "-o", "here.mp4", "--on", "local").code == 0
    assert (tmp_path / "there.mp4").read_bytes() == (tmp_path / "here.mp4").read_bytes()


def test_what_came_back_before_it_vanished_is_not_done_again(machine: Server, clip: Path) -> None:
    second = clip.with_name("second.dat")
    second.write_bytes(b"2")
    process = start(clip, str(second), "-o", "out/", "--seconds", "2")
    until((clip.parent / "out/clip.worked.bin").exists)
    vanish(machine)
    items = receipt(finish(process))["items"]
    assert [item["outputs"][0]["attempt"] for item in items] == [1, 2]


# When it is not to be trusted, or full


def test_a_changed_key_is_said_loudly_with_both_fingerprints_and_ends_with_7(
    box: Server, offload_dirs: Path, clip: Path
) -> None:
    other = make_key(box.folder / "other")
    box.known_hosts.write_text(f"[127.0.0.1]:{box.port} {public(other)}\n")
    said = fake(clip.parent, clip, "--on", "box", "--no-fallback")
    assert said.code == 7
    assert said.err.count("SHA256:") == 2
    assert "try again" not in said.err


def test_a_changed_key_does_not_stop_the_job_here(box: Server, clip: Path) -> None:
    box.known_hosts.write_text(f"[127.0.0.1]:{box.port} {public(make_key(box.folder / 'other'))}\n")
    said = fake(clip.parent, clip, "-o", "there.bin", "--json")
    assert_done_here_after_box(said, clip)
    assert "REFUSED" in said.err


def test_a_login_that_is_refused(box: Server, offload_dirs: Path, clip: Path) -> None:
    configure(offload_dirs, box, identity=make_key(box.folder / "stranger"))
    said = fake(clip.parent, clip, "-o", "there.bin", "--json")
    assert_done_here_after_box(said, clip)
    assert "REFUSED" in said.err
    assert fake(clip.parent, clip, "--on", "box").code == 7


def test_a_full_disk_there(server: Server, offload_dirs: Path, clip: Path) -> None:
    with tmpfs(server.folder) as root:
        configure(offload_dirs, server, url=f"ssh://127.0.0.1:{server.port}{root}")
        said = fake(clip.parent, clip, "-o", "there.bin", "--json")
    assert_done_here_after_box(said, clip)
    assert "full" in said.err


# Trust and checkup


def test_trust_shows_the_fingerprint_and_pins_the_key(box: Server, tmp_path: Path) -> None:
    box.known_hosts.unlink()
    assert offload(tmp_path, "targets", "test", "box").code == 7
    said = offload(tmp_path, "targets", "trust", "box", "--yes")
    assert said.code == 0, said.err
    assert "SHA256:" in said.err
    assert offload(tmp_path, "targets", "test", "box").code == 0
    assert box.known_hosts.stat().st_mode & 0o777 == 0o600


def test_trust_asks_and_a_no_pins_nothing(box: Server, tmp_path: Path) -> None:
    box.known_hosts.unlink()
    assert offload(tmp_path, "targets", "trust", "box").code == 130
    assert not box.known_hosts.exists()
