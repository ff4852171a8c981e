"""The agent: scripts arrive whole, and what a runner says becomes a value or the right error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.agent import Agent, refusal
from broker.broker import Broker
from broker.errors import InputError, IntegrityError, MissingHere, OffloadError
from broker.scripts import bundle, folder
from executors.base import Completed, ExecutorError, Lost, NoSpace, TransferFailed
from tests.broker.faulty import Fault, FaultyExecutor


@pytest.fixture
def there(box: type[FaultyExecutor], broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyExecutor]:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    executor = broker.targets["box"].executor()
    assert isinstance(executor, FaultyExecutor)
    with executor:
        yield executor


@pytest.fixture
def agent(there: FaultyExecutor) -> Agent:
    return Agent(there, bundle(folder() / "stabilize.py"))


def puts(there: FaultyExecutor) -> list[str]:
    return [word for name, word, _ in there.asked if name == "put"]


def test_scripts_are_brought_once(agent: Agent, there: FaultyExecutor) -> None:
    agent.install()
    assert agent.facts()["python"]
    there.asked.clear()
    agent.install()
    assert puts(there) == []


@pytest.mark.parametrize("operation", ["put", "get"])
def test_a_script_damaged_on_its_way_is_brought_again(operation: str, agent: Agent, there: FaultyExecutor) -> None:
    there.faults.append(Fault(operation, "stabilize.py", times=2))
    agent.install()
    (path,) = there.root.rglob("stabilize.py")
    assert path.read_bytes() == (folder() / "stabilize.py").read_bytes()
    assert len([word for word in puts(there) if word.endswith("/stabilize.py")]) == 3


def test_scripts_that_cannot_arrive_whole_are_not_taken_for_installed(agent: Agent, there: FaultyExecutor) -> None:
    there.faults.append(Fault("put", "stabilize.py"))
    with pytest.raises(TransferFailed, match="arrived damaged"):
        agent.install()
    there.faults.clear()
    there.asked.clear()
    agent.install()
    assert [word for word in puts(there) if word.endswith("/stabilize.py")]


def test_an_interrupted_installation_is_begun_again(agent: Agent, there: FaultyExecutor) -> None:
    there.faults.append(Fault("put", "runner.py", Lost("gone"), times=1))
    with pytest.raises(Lost):
        agent.install()
    agent.install()
    assert agent.facts()["python"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("no_space", NoSpace),
        ("integrity", IntegrityError),
        ("changed", InputError),
        ("bad_request", OffloadError),
        ("no_job", Lost),
        ("failed", ExecutorError),
        ("never heard of", ExecutorError),
    ],
)
def test_what_a_runner_refuses(kind: str, error: type[Exception]) -> None:
    refused = refusal({"kind": kind, "message": "so\x1b[2J"}, "box")
    assert type(refused) is error
    assert str(refused).startswith("box: ")
    assert "\x1b" not in str(refused)


def test_what_is_missing_comes_with_what_installs_it() -> None:
    refused = refusal({"kind": "missing", "message": "av is not installed; install with: pip install 'av'"}, "box")
    assert isinstance(refused, MissingHere)
    assert (str(refused), refused.hint) == ("box: av is not installed", "pip install 'av'")


@pytest.mark.parametrize("said", [b"", b"hello", b"[1]", b'{"v": 2}', b'{"v": 1', b"\xff\n", b'{"v": 1}\nbye'])
def test_a_runner_that_makes_no_sense_is_lost(
    said: bytes, agent: Agent, there: FaultyExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(there, "run", lambda *_: Completed(1, said, b"Traceback\nkilled \x1b[2J"))
    with pytest.raises(Lost, match=r"box: the runner did not answer facts \(status 1\) killed  \[2J"):
        agent.facts()


def test_a_target_without_a_runner_is_lost(agent: Agent, there: FaultyExecutor) -> None:
    with pytest.raises(Lost, match="did not answer"):
        agent.facts()


def test_what_a_script_needs_and_is_not_here_is_named(broker: Broker, tmp_path: Path) -> None:
    script = tmp_path / "own.py"
    script.write_text('# /// script\n# dependencies = ["no-such-thing==1.0"]\n# ///\n')
    with pytest.raises(MissingHere, match=r"no-such-thing==1\.0 is not installed") as caught:
        broker.check_here(script)
    assert caught.value.hint == "pip install 'no-such-thing==1.0'"
