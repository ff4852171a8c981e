"""A job on another machine that a person ends: nothing goes on there, nothing stays but what was to be kept."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.executors.sshd import Server, needs_sshd
from tests.services.typed import offload
from tests.ssh.jobs import Work, there, tried

pytestmark = needs_sshd

AT_WORK = "jobs/*/out/0/worked.bin"


@pytest.mark.parametrize("words", [(), ("--keep",)], ids=["not kept", "kept"])
def test_interrupted_in_the_run(box: Server, clip: Path, words: tuple[str, ...]) -> None:
    work = Work(clip, words=words)
    with work.typed() as command:
        command.comes_to(lambda: there(box, AT_WORK))
        command.process.send_signal(signal.SIGINT)
        said = command.end()
    assert said.code == 130, said.err
    assert tried(said) == [("box", "cancelled")]
    assert len(there(box, "jobs/*")) == len(words)
    work.assert_nothing_published()


def test_cancelled_from_elsewhere_in_the_run(box: Server, clip: Path) -> None:
    work = Work(clip)
    with work.typed() as command:
        command.comes_to(lambda: there(box, AT_WORK))
        (job,) = offload(clip.parent, "jobs", "ls", "--json").document
        assert offload(clip.parent, "jobs", "cancel", job["job"]).code == 0
        said = command.end()
    assert said.code == 130, said.err
    assert said.document["state"] == "cancelled"
    assert not there(box, "jobs/*")
    work.assert_nothing_published()


def test_what_is_driven_is_not_removed(box: Server, clip: Path) -> None:
    work = Work(clip)
    with work.typed() as command:
        command.comes_to(lambda: there(box, AT_WORK))
        (job,) = offload(clip.parent, "jobs", "ls", "--json").document
        refused = offload(clip.parent, "jobs", "rm", job["job"])
        said = work.end(command)
    assert refused.code == 2
    assert f"job {job['job']} is running" in refused.err
    assert said.code == 0, said.err
    assert tried(said) == [("box", "done")]
    work.assert_published()
