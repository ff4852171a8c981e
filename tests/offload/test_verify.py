"""`offload verify`, typed whole: what it finds, what it says, and that it leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker import settings
from broker.broker import Broker
from broker.errors import Interrupted
from broker.job import State
from offload import verified
from services import stabilize
from services.base import inputs as select
from tests import media
from tests.remote_scripts.upscaled import made_networks
from tests.services.test_lazy import HEAVY, LATER, imported
from tests.services.typed import PYTHON, Said, Word, environment, offload, type_

VERIFYING = (PYTHON, str(Path(__file__).with_name("verifying.py")))
HERE_AND_THERE = ("--on", "local,box")
COMES_TO_IT = 120.0


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders are made. Whatever happens, there is none in the end."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield folder
    assert list(folder.glob("offload-*")) == []


@pytest.fixture
def box(tmp_path: Path, offload_dirs: Path) -> Path:
    """The root of a second target."""
    root = tmp_path / "box"
    (offload_dirs / "config/targets.toml").write_text(f'[box]\nurl = "local://{root}"\n')
    return root


def verify(here: Path, contract: str, *words: Word, env: dict[str, str] | None = None) -> Said:
    """Verify a moody service."""
    return type_([*VERIFYING, contract, *words], here, env)


def mood(root: Path, name: str, content: bytes | str = "") -> None:
    """Put a target into a mood."""
    (root / "moods").mkdir(parents=True, exist_ok=True)
    (root / "moods" / name).write_bytes(content.encode() if isinstance(content, str) else content)


def local_root() -> Path:
    """The root of the target `local`."""
    return settings.load().cache_dir / "local"


def jobs(here: Path) -> Any:
    """All jobs that are known."""
    return offload(here, "jobs", "ls", "--json").document


# What it finds


def test_this_machine_repeats_itself(here: Path, clip_here: Path) -> None:
    said = offload(here, "verify", "stabilize", "clip.mp4", "--on", "local,local")
    assert said.code == 0, said.err
    first, last = (line.split("\t") for line in said.lines)
    assert first[:4] == ["bytes", "clip.mp4", "stabilized.mp4", "local, local"]
    assert last == ["reached", "bytes", "stabilize promises bytes"]
    assert [path.name for path in here.iterdir()] == ["clip.mp4"]
    assert jobs(here) == []


def test_another_target_makes_the_same_bytes(here: Path, clip_here: Path, box: Path, offload_dirs: Path) -> None:
    with (offload_dirs / "config/targets.toml").open("a") as file:
        file.write('share = "no"\n')
    words = ("clip.mp4", *HERE_AND_THERE, "--preset", "ultrafast", "--report", "drawn.png", "--json")
    said = offload(here, "verify", "stabilize", *words)
    assert said.code == 0, said.err
    document = said.document
    assert (document["level"], document["targets"], document["exit_code"]) == ("bytes", ["local", "box"], 0)
    assert [output["name"] for output in document["outputs"]] == ["stabilized.mp4", "report.png"]
    for target, receipt in zip(("local", "box"), document["receipts"], strict=True):
        assert [(attempt["target"], attempt["state"]) for attempt in receipt["attempts"]] == [(target, "done")]
        assert receipt["params"]["preset"] == "ultrafast"
    assert not (here / "drawn.png").exists()


def test_another_output_is_found(here: Path, data: Path, box: Path) -> None:
    mood(box, "made.bin", "some work!")
    said = verify(here, "bytes", "a.dat", *HERE_AND_THERE)
    assert said.code == 9
    first, last = (line.split("\t") for line in said.lines)
    assert first == ["different", "a.dat", "made.bin", "local, box", "different from byte 9 on, of 9 and 10"]
    assert last == ["reached", "different", "bytes promises bytes"]
    assert "--html report.html" in said.err
    assert jobs(here) == []


@pytest.mark.parametrize(("contract", "code"), [("close", 0), ("bytes", 9)])
def test_close_suffices_where_no_more_is_promised(contract: str, code: int, here: Path, data: Path, box: Path) -> None:
    words = " ".join(f"word{number}" for number in range(20))
    mood(local_root(), "made.txt", words)
    mood(box, "made.txt", words.replace("word7 ", "other "))
    said = verify(here, contract, "a.dat", *HERE_AND_THERE, "--suffix", ".txt", "--json")
    assert said.code == code, said.err
    (output,) = said.document["outputs"]
    assert (said.document["level"], output["level"], said.document["exit_code"]) == ("close", "close", code)
    assert output["figures"]["differing_words"] == 1


def test_the_least_level_counts_and_each_target_is_compared_with_the_first(
    here: Path, box: Path, offload_dirs: Path
) -> None:
    with (offload_dirs / "config/targets.toml").open("a") as file:
        file.write(f'[third]\nurl = "local://{box.with_name("third")}"\n')
    (here / "a.dat").write_text("a")
    (here / "b.dat").write_text("b")
    mood(box.with_name("third"), "made.bin", "a")
    said = verify(here, "close", "a.dat", "b.dat", "--on", "local,box,third", "--json")
    found = [(Path(output["input"]).name, *output["targets"], output["level"]) for output in said.document["outputs"]]
    assert found == [
        ("a.dat", "local", "box", "bytes"),
        ("b.dat", "local", "box", "bytes"),
        ("a.dat", "local", "third", "bytes"),
        ("b.dat", "local", "third", "different"),
    ]
    assert (said.code, said.document["level"]) == (9, "different")


def test_versions_that_differ_are_told(here: Path, data: Path, box: Path) -> None:
    for root, version in ((local_root(), "1.0"), (box, "2.0")):
        mood(root, "version", version)
    said = verify(here, "bytes", "a.dat", *HERE_AND_THERE)
    assert said.code == 0
    assert "differs\tmood\tlocal: 1.0\tbox: 2.0" in said.lines
    assert verify(here, "bytes", "a.dat", *HERE_AND_THERE, "--json").document["versions"]["mood"] == ["1.0", "2.0"]
    same = verify(here, "bytes", "a.dat", "--on", "box,box", "--json")
    assert same.document["versions"] == {}


# A job of its own


def test_an_unfinished_job_of_the_same_request_is_not_taken(here: Path, clip_here: Path, broker: Broker) -> None:
    service, params = stabilize.SERVICE, stabilize.Stabilize()
    usual = tuple(select.assign([clip_here], None, service, params))
    left = broker.submit(verified.request(service, params, usual, "local", ()))
    said = offload(here, "verify", "stabilize", "clip.mp4", "--on", "local,local", "--json")
    assert said.code == 0, said.err
    made = [receipt["job"] for receipt in said.document["receipts"]]
    assert len({left.id, *made}) == 3
    assert broker.journal.job(left.id).state is State.QUEUED
    assert [job["job"] for job in jobs(here)] == [left.id]


def test_nothing_is_taken_from_an_earlier_run(here: Path, data: Path, box: Path) -> None:
    assert verify(here, "bytes", "a.dat", *HERE_AND_THERE).code == 0
    mood(box, "made.bin", "another mood")
    assert verify(here, "bytes", "a.dat", *HERE_AND_THERE).code == 9
    asked = verified.request(stabilize.SERVICE, stabilize.Stabilize(), (), "box", ())
    assert (asked.cache, asked.fallback, asked.spread, asked.on) == (False, False, False, "box")


def test_nobody_gets_what_was_found_wrong(
    here: Path, data: Path, box: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_RESULT_BYTES", str(10**8))
    mood(box, "made.bin", "wrong")
    assert verify(here, "bytes", "a.dat", *HERE_AND_THERE).code == 9
    assert broker.journal.results.all() == []


# What goes wrong


def test_a_target_that_cannot_be_reached_is_named_before_anything_is_done(
    here: Path, data: Path, offload_dirs: Path
) -> None:
    (offload_dirs / "config/targets.toml").write_text(f'[box]\nurl = "local://{data}/x"\n')
    said = verify(here, "bytes", "a.dat", *HERE_AND_THERE, "--json")
    assert said.code == said.document["exit_code"] == 5
    assert "box" in said.document["error"]
    assert "running on" not in said.err
    assert jobs(here) == []


def test_a_target_that_a_rule_forbids_is_named_before_anything_is_done(
    here: Path, data: Path, box: Path, offload_dirs: Path
) -> None:
    (offload_dirs / "config/config.toml").write_text(f'[[rules]]\nfolder = "{here}"\non = "local"\n')
    said = verify(here, "bytes", "a.dat", *HERE_AND_THERE)
    assert (said.code, said.out) == (2, b"")
    assert "it may not go to box" in said.err
    assert "running on" not in said.err
    assert not (local_root() / "jobs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--on", "local"), "two targets or more"),
        (("--on", "auto,local"), "two targets or more"),
        (("--on", "local,remote"), "two targets or more"),
        (("--on", "local,nowhere"), "no target named 'nowhere'"),
        ((), "--on"),
        (("--on", "local,local", "--html", "there.html"), "there.html exists"),
        (("--on", "local,local", "--keep-outputs", "there"), "there exists"),
        (("--on", "local,local", "--keep-outputs", "no/where"), "no such folder"),
        (("--on", "local,local", "--html", "no/where.html"), "no such folder"),
        (("--on", "local,local", "--html", "there", "--overwrite"), "this is no file"),
        (("--on", "local,local", "--html", "new", "--keep-outputs", "./new"), "name one place"),
        (("--on", "local,local", "--keep-outputs", "x" * 300), "File name too long"),
    ],
)
def test_what_makes_no_sense_is_said_at_once(words: tuple[str, ...], message: str, here: Path, data: Path) -> None:
    (here / "there.html").write_text("mine")
    (here / "there").mkdir()
    said = verify(here, "bytes", "a.dat", *words)
    assert (said.code, said.out) == (2, b"")
    assert message in said.err
    assert "running on" not in said.err
    assert (here / "there.html").read_text() == "mine"


def test_inputs_that_cannot_be_used(here: Path, data: Path, box: Path) -> None:
    assert verify(here, "bytes", "nothing.dat", *HERE_AND_THERE).code == 3
    said = verify(here, "bytes", "a.dat", "nothing.dat", *HERE_AND_THERE)
    assert said.code == 101
    assert "nothing.dat: there is no such file" in said.err
    for root in (local_root(), box):
        mood(root, "refuses", "some work")
    said = verify(here, "bytes", "a.dat", *HERE_AND_THERE)
    assert said.code == 3
    assert [line.split("\t") for line in said.lines] == [
        ["failed", "a.dat", "", "local", "not in the mood for it"],
        ["failed", "a.dat", "", "box", "not in the mood for it"],
        ["reached", "nothing", "bytes promises bytes"],
    ]


def test_an_input_that_only_one_target_takes_is_a_difference(here: Path, data: Path, box: Path) -> None:
    mood(box, "refuses", "some work")
    said = verify(here, "close", "a.dat", *HERE_AND_THERE, "--html", "report.html", "--json")
    assert said.code == 9
    (output,) = said.document["outputs"]
    assert (output["level"], output["sentence"]) == ("different", "local: made; box: not in the mood for it")
    assert "not in the mood for it" in (here / "report.html").read_text()


def test_a_script_that_crashes_leaves_its_log_and_no_outputs(here: Path, data: Path, box: Path) -> None:
    mood(box, "crash")
    said = verify(here, "bytes", "a.dat", *HERE_AND_THERE, "--keep-outputs", "kept")
    assert (said.code, said.out) == (6, b"")
    (job,) = jobs(here)
    assert job["state"] == "failed"
    assert f"offload jobs logs {job['job']}" in said.err
    assert [path.name for path in here.iterdir()] == ["a.dat"]


# What is left


def test_outputs_are_kept_on_request(here: Path, data: Path, box: Path) -> None:
    mood(box, "made.bin", "another")
    said = verify(here, "bytes", "a.dat", *HERE_AND_THERE, "--keep-outputs", "kept")
    assert said.code == 9
    found = {str(path.relative_to(here)): path.read_text() for path in (here / "kept").rglob("*") if path.is_file()}
    assert found == {"kept/1-local/1/a.made.bin": "some work", "kept/2-box/1/a.made.bin": "another"}
    assert sorted(path.name for path in here.iterdir()) == ["a.dat", "kept"]


def stopped(here: Path, number: signal.Signals, sign: Callable[[], object], env: dict[str, str]) -> Said:
    """Type a verification, and send it a signal once there is a sign."""
    command = [*VERIFYING, "bytes", "a.dat", *HERE_AND_THERE, "--keep-outputs", "kept"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=here, env=environment(env), stdout=pipe, stderr=pipe) as process:
        deadline = time.monotonic() + COMES_TO_IT
        while not sign():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
        out, err = process.communicate(timeout=COMES_TO_IT)
    return Said(process.returncode, out, err.decode())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("when", ["at work", "comparing"])
def test_an_interruption_leaves_nothing(
    number: signal.Signals, when: str, here: Path, data: Path, box: Path, tmp_path: Path
) -> None:
    mood(box, "made.bin", "another")
    if when == "at work":
        mood(box, "wait")
        said = stopped(here, number, lambda: list(box.glob("jobs/*/out/*/made.bin")), {})
    else:
        said = stopped(here, number, (tmp_path / "held").exists, {"VERIFY_HOLD": str(tmp_path / "held")})
    assert (said.code, said.out) == (130, b""), said.err
    assert "Traceback" not in said.err
    assert [path.name for path in here.iterdir()] == ["a.dat"]
    assert jobs(here) == []
    assert list(box.glob("jobs/*")) == []


def test_a_second_signal_does_not_stop_the_tidying(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = shutil.rmtree

    def impatient(folder: Path) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        remove(folder)

    monkeypatch.setattr(shutil, "rmtree", impatient)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    handlers = [signal.getsignal(number) for number in verified.SIGNALS]
    with pytest.raises(Interrupted, match="nothing is left"), verified.scratch(None) as folder:
        assert folder.parent == scratch
        os.kill(os.getpid(), signal.SIGTERM)
    assert list(scratch.iterdir()) == []
    assert [signal.getsignal(number) for number in verified.SIGNALS] == handlers


# Around it


def test_help_imports_nothing_heavy(here: Path) -> None:
    for words in (("verify", "--help"), ("verify", "stabilize", "--help"), ("verify", "tag", "--help")):
        code, names = imported(here, "offload", *words)
        assert code == 0
        assert not names & (HEAVY | LATER)


def test_each_service_is_a_verb_with_its_own_options(here: Path) -> None:
    assert b"verify" in offload(here, "--help").out
    for name, option in (("transcribe", b"--beam-size"), ("upscale", b"--tile"), ("caption", b"--frames")):
        assert option in offload(here, "verify", name, "--help").out
    assert offload(here, "verify", "nothing").code == 2


def test_a_photo_made_larger_there_as_here(here: Path, box: Path, tmp_path: Path) -> None:
    """A service with a model, and with pictures."""
    weights = shutil.copy(made_networks() / "compact.pth", tmp_path / "tiny.pth")
    media.ffmpeg("-f", "lavfi", "-i", "testsrc=s=32x24", "-frames:v", "1", here / "photo.png")
    words = ("photo.png", "--model", weights, "--threads", "1", *HERE_AND_THERE, "--json")
    said = offload(here, "verify", "upscale", *words)
    assert said.code == 0, said.err
    assert said.document["level"] == "bytes"
    assert said.document["contract"] == "close"
