"""What a running attempt's script has said so far."""

from __future__ import annotations

from pathlib import Path

from broker.broker import Broker
from tests.broker.jobs import drive, only_job, request


def test_a_script_that_has_not_begun_has_said_nothing_yet(broker: Broker, tmp_path: Path) -> None:
    drive(broker, request(tmp_path / "media", b"one"))
    (attempt,) = broker.journal.attempts(only_job(broker).id)
    assert broker.contact.log(attempt) == "nothing yet\n"  # the target has deleted the job: there is no log
