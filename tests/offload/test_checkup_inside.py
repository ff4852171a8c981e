"""`offload targets test`, once it is inside: on a target that fails on purpose, the step that fails is the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from broker.broker import Broker
from broker.errors import LimitError
from executors.base import Unreachable
from services.base import checkup
from tests.broker.conftest import box
from tests.broker.faulty import Fault, FaultyExecutor

__all__ = ["box"]


def steps(broker: Broker) -> list[checkup.Step]:
    return list(checkup.checkup(broker, broker.targets["box"]))


def test_a_disk_with_too_little_room(
    box: type[FaultyExecutor], broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "LEAST_DISK_BYTES", 10**18)
    last = steps(broker)[-1]
    assert (last.name, last.exit_code, last.hint) == ("disk", LimitError.exit_code, "offload jobs ls")
    assert last.said.startswith("box: ")


@pytest.mark.parametrize(
    ("gpu", "said"),
    [
        (None, "none"),
        ({"name": "A", "memory_bytes": 24e9}, "A, 24 GB"),
        ({"name": "GB10", "memory_bytes": None}, "GB10"),
    ],
)
def test_a_gpu_is_no_condition(
    gpu: Mapping[str, Any] | None, said: str, box: type[FaultyExecutor], broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = checkup.Agent.facts
    monkeypatch.setattr(checkup.Agent, "facts", lambda agent: {**facts(agent), "gpu": gpu})
    (step,) = [step for step in steps(broker) if step.name == "GPU"]
    assert (step.ok, step.said) == (True, said)
    assert broker.journal.health.probe(broker.targets["box"]).gpu == (gpu and gpu["name"])


@pytest.mark.parametrize(
    ("fault", "name", "code"),
    [
        (Fault("probe", error=Unreachable("box: no route")), "reach", 5),
        (Fault("enter", error=Unreachable("box: no route")), "set-up", 5),
        (Fault("put", "scripts/", Unreachable("box: gone")), "Python", 5),
        (Fault("put", "parts/", Unreachable("box: gone")), "1 MB there and back", 5),
        (Fault("get", "parts/"), "1 MB there and back", 9),
    ],
    ids=["probe", "enter", "install", "send", "damaged"],
)
def test_the_step_that_fails_is_the_last(
    fault: Fault, name: str, code: int, box: type[FaultyExecutor], broker: Broker
) -> None:
    box.faults.append(fault)
    *before, last = steps(broker)
    assert (last.name, last.exit_code, all(step.ok for step in before)) == (name, code, True)
    assert last.said.startswith("box: ")
    assert "box: box" not in last.said
