"""`offload targets test`, once it is inside: on a target that fails on purpose, the step that fails is the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from broker.broker import Broker
from broker.errors import LimitError
from executors.base import ExecutorError, NoQuota, Refused, Unreachable
from services.base import checkup
from services.base.overview import target_row
from tests.broker.conftest import box
from tests.broker.faulty import Fault, FaultyExecutor

__all__ = ["box"]


def steps(broker: Broker) -> list[checkup.Step]:
    return list(checkup.checkup(broker, broker.targets["box"]))


def state(broker: Broker) -> str:
    """What a list tells of the target."""
    return str(target_row(broker.plan("box", 0)[0])["state"])


def test_a_disk_with_too_little_room(
    box: type[FaultyExecutor], broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkup, "LEAST_DISK_BYTES", 10**18)
    last = steps(broker)[-1]
    assert (last.name, last.exit_code, last.hint) == ("disk", LimitError.exit_code, "offload jobs ls")
    assert last.said.startswith("box: ")
    assert state(broker) == "full"


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
    assert state(broker) == "away"


@pytest.mark.parametrize(("error", "word"), [(Refused("box: no"), "refused"), (NoQuota("box: none left"), "full")])
def test_what_only_entering_sees_is_what_a_list_and_plans_tell_after_it(
    error: ExecutorError, word: str, box: type[FaultyExecutor], broker: Broker
) -> None:
    assert broker.plan("auto", 0)[0].probe.reachable
    box.faults.append(Fault("enter", error=error))
    assert steps(broker)[-1].exit_code == error.exit_code
    assert state(broker) == word
    assert not broker.plan("auto", 0)[0].probe.reachable
    box.faults.clear()
    assert steps(broker)[-1].ok
    assert state(broker) == "up"
