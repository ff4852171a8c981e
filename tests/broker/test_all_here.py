"""What a target does against our wish: after everything is here it changes nothing, and before it costs an attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import executors
from broker.broker import Broker
from broker.dispatch import Dispatch
from broker.events import Progress
from broker.job import State
from broker.stop import Stop
from executors.base import Completed, ExecutorError, Lost
from executors.local import LocalExecutor
from tests.broker.jobs import drive, let_go, only_job, request, right


class Late(LocalExecutor):
    """Fails once the output is here, before the end was heard of."""

    says: ExecutorError

    def __init__(self, name: str, options: Mapping[str, str]) -> None:
        super().__init__(name, {**options, "root": options["url"].removeprefix("late://"), "share": "no"})

    def run(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 60.0) -> Completed:
        if argv[-1] == "events" and list(self.root.parent.glob("media/*.worked.bin")):
            raise self.says
        return super().run(argv, stdin, timeout)


@pytest.mark.parametrize("says", [ExecutorError("box: an error that is not the job's"), Lost("box: it is silent")])
def test_an_error_after_the_last_item_costs_nothing(
    says: ExecutorError, broker: Broker, offload_dirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(executors.KINDS, "late", f"{__name__}:Late")
    monkeypatch.setattr(Late, "says", says, raising=False)
    monkeypatch.setattr("broker.attempt.Run._wait", None)  # there is nothing to wait for
    (offload_dirs / "config/targets.toml").write_text(f'[box]\nurl = "late://{tmp_path}/box"\n')
    with Broker(broker.settings) as again:
        drive(again, asked := request(tmp_path / "media", b"x", on="box"))
        job = only_job(again)
        assert job.state is State.DONE
        assert [attempt.state for attempt in again.journal.attempts(job.id)] == ["done"]
    assert right(asked)


def test_a_job_that_was_ended_there_though_it_is_wanted_gets_another_attempt(broker: Broker, tmp_path: Path) -> None:
    hold = let_go(tmp_path / "hold")
    asked = request(tmp_path / "media", b"x", hold=str(hold))
    job = broker.submit(asked)
    for event in broker.drive(job, Stop()):
        if isinstance(event, Progress) and len(broker.journal.attempts(job.id)) == 1:
            assert broker.contact.end(broker.journal.attempts(job.id)) == []  # as by one who could not tell of it
            let_go(hold, 0)
    assert [attempt.state for attempt in broker.journal.attempts(job.id)] == ["lost", "done"]
    assert right(asked)


def test_a_driver_that_was_killed_before_it_closed_the_job_leaves_no_attempt_to_be_made(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    job = broker.submit(asked := request(tmp_path / "media", b"x"))
    with monkeypatch.context() as killing, pytest.raises(Killed):
        killing.setattr(Dispatch, "_close", kill)
        list(broker.drive(job, Stop()))
    assert broker.journal.job(job.id).state is State.RUNNING
    list(broker.drive(job, Stop()))
    assert broker.journal.job(job.id).state is State.DONE
    assert [attempt.state for attempt in broker.journal.attempts(job.id)] == ["done"]
    assert right(asked)
