"""Models of jobs: pinned here, fetched by the machine that runs the job, or sent to it from here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.broker import Broker
from broker.errors import InputError, IntegrityError, MissingHere
from broker.job import Input, Request
from broker.models import store
from executors.base import Lost
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import drive, notes, only_job
from tests.hub import Hub

Box = type[FaultyExecutor]

SCRIPT = """# /// script
# requires-python = ">=3.8"
# dependencies = []
# ///
import hashlib, json, sys
from pathlib import Path
from _job import Result, run

def show(job, item):
    made, folder = item.out / "made.json", job.models["model"]
    files = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
             for path in sorted(folder.rglob("*")) if path.is_file()}
    made.write_text(json.dumps({"files": files, "models": sorted(job.models)}))
    return Result((made,), {})

sys.exit(run(show))
"""
FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 3_000_000}
"""Three parts of weights, and a small file of which only the git hash is told."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("HF_HOME", "HF_HUB_CACHE", "HF_TOKEN", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with Hub() as hub:
        hub.publish("owner/name", FILES)
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


def asked(folder: Path, on: str, source: str = "hf:owner/name", number: int = 0) -> Request:
    folder.mkdir(exist_ok=True)
    script, path = folder / "show.py", folder / f"{number}.dat"
    script.write_text(SCRIPT)
    path.write_bytes(b"one")
    entry = Input(path, {"made.json": folder / f"{number}.json"})
    return Request("show", script, {}, (entry,), on=on, models={"model": source})


def seen(request: Request) -> dict[str, str]:
    """The files that the script found, by their content's hash."""
    (dest,) = request.inputs[0].outputs.values()
    found: dict[str, str] = json.loads(dest.read_text())["files"]
    return found


def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on nobody reaches the hub."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def fetched(hub: Hub) -> int:
    """How often weights were asked for."""
    return sum(one.server == "store" for one in hub.gets())


def sent(box: Box) -> int:
    """Bytes of parts that went to the machine."""
    return sum(size for operation, path, size in box.asked if operation == "put" and path.startswith("parts/"))


@pytest.mark.parametrize("on", ["local", "box"])
def test_the_machine_that_runs_the_job_fetches_them_once(
    on: str, box: Box, hub: Hub, broker: Broker, tmp_path: Path
) -> None:
    for number in range(2):
        request = asked(tmp_path / "media", on, number=number)
        drive(broker, request)
        assert sorted(seen(request)) == sorted(FILES)
    assert fetched(hub) == 1


def test_a_receipt_names_what_was_used(hub: Hub, broker: Broker, tmp_path: Path) -> None:
    drive(broker, asked(tmp_path / "media", "local"))
    (attempt,) = broker.receipt(only_job(broker).id)["attempts"]
    assert attempt["versions"]["model.model"].startswith("hf:owner/name@")


def test_one_that_is_not_pinned_cannot_be_pinned_without_the_hub(
    broker: Broker, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away(monkeypatch)
    with pytest.raises(MissingHere, match="owner/name"):
        broker.submit(asked(tmp_path / "media", "local"))
    assert broker.journal.jobs() == []


def test_a_machine_without_the_hub_gets_them_from_here_once(
    box: Box, hub: Hub, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asked(tmp_path / "media", "local")
    drive(broker, first)
    away(monkeypatch)
    for number in (1, 2):
        request = asked(tmp_path / "media", "box", number=number)
        told = drive(broker, request)
        assert seen(request) == seen(first)
        assert [line for line in notes(told) if "the models it needs have to come from here" in line] == (
            ["box can download nothing; the models it needs have to come from here"] if number == 1 else []
        )
    assert sum(map(len, FILES.values())) < sent(box) < sum(map(len, FILES.values())) + 100


def test_what_is_nowhere_is_missing_with_what_to_type(
    box: Box, hub: Hub, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = broker.submit(asked(tmp_path / "media", "box"))  # pinned now
    away(monkeypatch)
    with pytest.raises(MissingHere, match="not here to be sent, and not on box") as error:
        drive(broker, job)
    assert error.value.hint == "offload models prefetch owner/name"


def test_here_what_cannot_be_fetched_is_missing_with_what_to_type(
    hub: Hub, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = broker.submit(asked(tmp_path / "media", "local"))
    away(monkeypatch)
    with pytest.raises(MissingHere, match="cannot be reached") as error:
        drive(broker, job)
    assert error.value.hint == broker.journal.ending(job.id).hint == "offload models prefetch owner/name"


def test_the_next_machine_goes_on_where_one_has_no_model(
    box: Box, hub: Hub, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive(broker, asked(tmp_path / "media", "local"))
    box.faults.append(Fault("put", "parts/", Lost("box: gone in the middle of a model")))
    away(monkeypatch)
    request = asked(tmp_path / "media", "auto", number=1)
    drive(broker, request)
    assert [one["target"] for one in broker.receipt(broker.journal.jobs()[0].id)["attempts"]] == ["box", "local"]


@pytest.mark.parametrize("on", ["local", "box"])
def test_a_users_own_file_is_a_model_too(on: str, box: Box, broker: Broker, tmp_path: Path) -> None:
    own = tmp_path / "my model.bin"
    own.write_bytes(b"mine" * 100_000)
    request = asked(tmp_path / "media", on, f"path:{own}")
    drive(broker, request)
    assert list(seen(request).values()) == [store.file_sha256(own)]
    assert str(own) not in json.dumps(broker.receipt(only_job(broker).id)["attempts"])


def test_one_that_changes_meanwhile_makes_no_output_of_two_models(broker: Broker, tmp_path: Path) -> None:
    own = tmp_path / "mine.bin"
    own.write_bytes(b"mine")
    request = asked(tmp_path / "media", "local", f"path:{own}")
    job = broker.submit(request)
    own.write_bytes(b"another")
    assert broker.unfinished(request) is None  # typed again, it is another job
    with pytest.raises(InputError, match=r"mine\.bin is not what it was"):
        drive(broker, job)
    drive(broker, request)
    assert list(seen(request).values()) == [store.file_sha256(own)]


def test_what_is_damaged_here_is_named_and_not_sent(
    box: Box, hub: Hub, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive(broker, asked(tmp_path / "media", "local"))
    weights = max(store.folder(broker.settings).iterdir(), key=lambda path: path.stat().st_size)
    weights.chmod(0o600)
    with weights.open("r+b") as file:
        file.write(b"W")
    away(monkeypatch)
    with pytest.raises(IntegrityError, match=f"{weights}, of the model owner/name, is damaged"):
        drive(broker, asked(tmp_path / "media", "box", number=1))
    assert sent(box) < len(FILES["model.safetensors"])


def test_offline_names_all_that_are_missing_at_once(
    hub: Hub, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish("owner/other", FILES)
    broker.submit(asked(tmp_path / "media", "local"))  # pinned, and not fetched
    before = len(hub.asked)
    both = {"model": "hf:owner/name", "second": "hf:owner/other"}
    with (
        Broker(broker.settings.model_copy(update={"offline": True})) as offline,
        pytest.raises(MissingHere, match=r"owner/other.*, owner/name") as error,
    ):
        offline.submit(replace(asked(tmp_path / "media", "local"), models=both))
    assert error.value.hint == "offload models prefetch owner/other owner/name"
    assert len(hub.asked) == before
