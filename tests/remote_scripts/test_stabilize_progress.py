"""How far stabilise is, how fast, and how long it takes still."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest

from .runs import part


def test_how_long_it_takes_is_told_by_what_this_attempt_has_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """An earlier attempt made three quarters of the first stage; this one makes the last, and half of the second."""
    script, stream, now = part("stabilize"), io.StringIO(), [0.0]
    monkeypatch.setattr(script.time, "monotonic", lambda: now[0])
    job = part("_job").Job({"params": {}, "limits": {"seconds": 100}, "items": [{"index": 0, "input": "x"}]}, stream)
    meter = script.Meter(job, job.items[0], SimpleNamespace(seconds=40))
    stage = meter.stage(0, 0.2)
    stage(0.75, 0.75)
    now[0] = 10.0
    stage(1.0, 0.75)
    now[0] = 20.0
    meter.stage(0.2, 1.0)(0.5, 0.0)
    told = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [event["fraction"] for event in told] == [0.15, 0.2, 0.6]
    assert [event["eta"] for event in told] == pytest.approx([0, 0.8 / 0.005, 0.4 / 0.0225], abs=0.1)
    assert [event["speed"] for event in told] == pytest.approx([0, 40 * 0.005, 40 * 0.0225], abs=0.01)
