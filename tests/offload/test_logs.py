"""`offload jobs logs -f`: what a job's script says, as it says it."""

from __future__ import annotations

import subprocess

from tests.offload.background import LONG, Stage, at_work, finish, interrupt, kill, stage, state
from tests.services.typed import OFFLOAD, fake, offload

__all__ = ["stage"]

FOLLOW = (*OFFLOAD, "jobs", "logs", "-f")
NOISE = ["this is not an event", "\ufffd\ufffd nor is this", "a warning"]
"""What the noisy script says, as it is shown."""


def test_it_is_told_while_it_is_said_and_until_the_job_is_over(stage: Stage) -> None:
    job = stage.detach("--noise", *stage.held, "a.dat")
    command = stage.start(job, command=FOLLOW)
    assert told(command) == ["--- attempt 1 on local: running", *NOISE]
    assert not (stage.here / "a.worked.bin").exists()
    stage.go_on()
    said = finish(command)
    assert (said.code, said.out) == (0, b"")
    assert state(job) == "done"


def test_it_goes_on_from_attempt_to_attempt(stage: Stage) -> None:
    job = stage.detach("--noise", *stage.held, "a.dat")
    command = stage.start(job, command=FOLLOW)
    for number in (1, 2):
        assert told(command) == [f"--- attempt {number} on local: running", *NOISE]
        [script] = at_work(job, number)
        kill(script)
    said = finish(command)
    assert (said.code, said.out) == (0, b"")
    assert state(job) == "failed"


def told(command: subprocess.Popen[bytes]) -> list[str]:
    """The next four lines on stdout."""
    assert command.stdout is not None
    return [command.stdout.readline().decode().rstrip("\n") for _ in range(4)]


def test_of_a_job_that_is_over_it_is_all_there_was(stage: Stage) -> None:
    assert fake(stage.here, "a.dat", "--noise", "--trouble", "exit").code == 6
    job = offload(stage.here, "jobs", "ls", "--json").document[0]["job"]
    plain, followed = (offload(stage.here, "jobs", "logs", *flag, job) for flag in ([], ["-f"]))
    assert (followed.code, followed.lines) == (0, plain.lines)
    assert followed.lines == ["--- attempt 1 on local: failed", *NOISE, "giving \\x1b[2Jup"]


def test_ctrl_c_ends_the_telling_and_not_the_job(stage: Stage) -> None:
    job = stage.detach("--noise", *LONG, "a.dat")
    command = stage.start(job, command=FOLLOW)
    assert command.stdout is not None
    while command.stdout.readline() != b"a warning\n":
        assert command.poll() is None
    said = interrupt(command)
    assert (said.code, said.err, state(job)) == (130, "", "detached")
