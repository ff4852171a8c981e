"""All is well: the same bytes there as here, nothing sent twice, nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.executors.sshd import Server, needs_sshd
from tests.services.typed import stabilize
from tests.ssh.conftest import CLIP_BYTES, Machine
from tests.ssh.jobs import Work, made_by, there, tried
from tests.ssh.wire import Wire

pytestmark = needs_sshd

SAMPLE = Path(__file__).parents[2] / "examples/handheld.mp4"
CLIP = os.environ.get("OFFLOAD_TEST_CLIP", "")
"""A long clip to be stabilised here and there. Read now: no test sees the user's variables."""


def assert_same_bytes(folder: Path, clip: Path) -> None:
    for target in ("local", "box"):
        words = ("-o", f"{target}.mp4", "--on", target, "--preset", "ultrafast", "--json")
        said = stabilize(folder, clip, *words)
        assert said.code == 0, said.err
        assert tried(said) == [(target, "done")]
    assert (folder / "local.mp4").read_bytes() == (folder / "box.mp4").read_bytes()


def test_same_bytes_here_and_there_of_any_file(box: Server, clip: Path) -> None:
    for target in ("local", "box"):
        said = Work(clip, words=("--on", target, "--overwrite")).type()
        assert said.code == 0, said.err
        assert tried(said) == [(target, "done")]
        Work(clip).assert_published()


def test_same_bytes_here_and_there_of_the_sample(box: Server, tmp_path: Path) -> None:
    assert_same_bytes(tmp_path, SAMPLE)


@pytest.mark.skipif(not CLIP, reason="OFFLOAD_TEST_CLIP names no clip")
def test_same_bytes_here_and_there_of_a_long_clip(box: Server, tmp_path: Path) -> None:
    assert_same_bytes(tmp_path, Path(CLIP))


def test_same_bytes_on_a_machine_with_a_bare_python(bare_machine: Machine, footage: Path) -> None:
    assert_same_bytes(footage.parent, footage)


def test_a_remote_target_comes_first_by_itself(box: Server, clip: Path) -> None:
    said = Work(clip).type()
    assert tried(said) == [("box", "done")]
    assert made_by(said) == [1]
    assert said.document["attempts"][0]["reason"] == "the first reachable target in your order"


def test_nothing_stays_there_but_the_input_and_it_is_not_sent_again(cable: Wire, server: Server, clip: Path) -> None:
    for words, least, most in ((), CLIP_BYTES, CLIP_BYTES + 10**6), (("--overwrite",), 0, 10**5):
        before = cable.up
        work = Work(clip, words=words)
        assert tried(work.type()) == [("box", "done")]
        assert least <= cable.up - before <= most
        assert not there(server, "jobs/*")
        assert not there(server, "parts/*")
        assert [blob.stat().st_size for blob in there(server, "blobs/*")] == [CLIP_BYTES]


def test_kept_on_request(box: Server, clip: Path) -> None:
    said = Work(clip, words=("--keep",)).type()
    assert tried(said) == [("box", "done")]
    (job,) = there(box, "jobs/*")
    assert {"job.json", "in", "out", "log.txt"} <= {path.name for path in job.iterdir()}
    assert (job / "out/0/worked.bin").read_bytes() == Work(clip).outputs[0].read_bytes()
