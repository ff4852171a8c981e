"""What makes no job."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.broker import Broker
from broker.errors import InputError, UsageError
from tests.broker.jobs import request


def test_an_input_that_cannot_be_read_makes_no_job(broker: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one")
    asked.inputs[0].source.unlink()
    with pytest.raises(InputError, match=r"0\.dat: No such file"):
        broker.submit(asked)
    assert broker.journal.jobs() == []


def test_an_unknown_target_makes_no_job(broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no target named 'nowhere'"):
        broker.submit(request(tmp_path / "media", b"one", on="nowhere"))
    assert broker.journal.jobs() == []
