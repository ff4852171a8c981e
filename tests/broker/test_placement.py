"""A job goes where it is done soonest, elsewhere only where that is worth it, and a sentence says why."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import executors
from broker import placement, settings
from broker.broker import Broker
from broker.forecast import SAMPLED
from broker.history import Observation
from broker.job import Request
from broker.plan import Candidate
from broker.settings import Settings
from broker.targets import LOCAL, Target
from broker.work import Kind, Work
from executors.base import Lost, Probe, Refused
from executors.rented import Holding, Rented
from tests.broker.faulty import Fault, FaultyExecutor
from tests.broker.jobs import drive, only_job, request

Box = type[FaultyExecutor]
FAST = Target("fast", "ssh", {"url": "ssh://fast"})
COLAB = Target("colab", "colab", {"url": "colab://"})
HERE = Target(LOCAL, "local", {"root": "/tmp/here"})
KIND = Kind("pixels", "-", "a")
WELL = Probe(True, cpus=2)


class Machine(Rented):
    """A rented machine that must not be entered. `holding` is what is held."""

    holding: Holding | None = None

    def held(self) -> Holding | None:
        return self.holding

    def probe(self, deadline: float) -> Probe:
        return Probe(True, gpu="T4")

    def _never(self, *_: object) -> None:
        raise AssertionError("a plan takes no machine")

    __enter__ = __exit__ = put = get = run = use = keep_alive = give_back = give_back_other = _never  # type: ignore


@pytest.fixture
def place(broker: Broker) -> Callable[..., list[Candidate]]:
    """Place work of a hundred seconds here, `fast` times faster on another machine."""

    def make(
        speed: float | None = None, *, worth: float = 1.2, on: str = "auto", probe: Probe = WELL, **work: object
    ) -> list[Candidate]:
        history, about = broker.journal.history, {"kind": str(KIND), "service": "stabilize"}
        history.observe(HERE, [Observation("run", 1e8, 100, **about), Observation("start", 1, 0, **about)])
        if speed is not None:
            seen = [Observation("run", 1e8, 100 / speed, **about), Observation("start", 1, 0, **about)]
            history.observe(FAST, [*seen, Observation("out", 1, 0, **about)])
        asked = Work("stabilize", KIND, 1e8, 1, **{"blobs": {}, **work})  # type: ignore[arg-type]
        found = [
            Candidate(FAST, probe, "the first reachable target in your order", 0),
            Candidate(HERE, WELL, "the next in your order", 0, shared=True),
        ]
        config = broker.settings.model_copy(update={"worth": worth})
        return placement.place(found, asked, on, config, history, HERE, [])

    return make


Place = Callable[..., list[Candidate]]


def order(candidates: Sequence[Candidate]) -> list[str]:
    return [one.target.name for one in candidates]


def test_a_job_goes_elsewhere_where_that_is_worth_it(place: Place) -> None:
    found = place(2.5)
    assert order(found) == ["fast", "local"]
    assert found[0].reason == "about 40 s; here about 2 min"


def test_it_stays_here_where_it_is_not(place: Place) -> None:
    found = place(1.1)
    assert order(found) == ["local", "fast"]
    assert found[0].reason == "about 2 min; fast about 91 s, which is not 1.2 times faster"
    assert found[0].seconds == pytest.approx(100)


def test_what_is_worth_it_is_for_its_user_to_say(place: Place) -> None:
    assert order(place(1.1, worth=1.05)) == ["fast", "local"]
    assert order(place(2.5, worth=3)) == ["local", "fast"]
    assert order(place(0.1, worth=0)) == ["fast", "local"]


def test_the_bytes_to_send_are_said_and_count(place: Place) -> None:
    found = place(10, blobs={"a": 12_000_000})
    assert found[0].send_bytes == 12_000_000
    assert found[0].reason == "about 15 s (12 MB to send); here about 2 min"
    assert order(place(10, blobs={"a": 10**9})) == ["local", "fast"]


def test_names_are_tried_in_the_order_they_were_given(place: Place) -> None:
    found = place(0.1, on="fast,local")
    assert order(found) == ["fast", "local"]
    assert found[0].seconds == pytest.approx(1000)
    assert found[0].reason == "the first reachable target in your order"


def test_what_is_only_estimated_is_said_so(place: Place) -> None:
    found = place(None, probe=Probe(True, cpus=64))
    assert order(found) == ["fast", "local"]
    assert found[0].reason.endswith("; estimated, as nothing like it ran there yet")


def test_where_nobody_can_tell_it_is_as_the_file_has_it(place: Place, broker: Broker) -> None:
    found = [Candidate(FAST, WELL, "first", 0), Candidate(HERE, WELL, "next", 0, shared=True)]
    unknown = Work("fake", KIND, 1e8, 1, {})
    for seen in ((), (Observation("run", 1e8, 1, str(KIND), "fake"),)):
        broker.journal.history.observe(HERE, seen)  # of this machine alone
        placed = placement.place(found, unknown, "auto", worth_it(broker, 1.2), broker.journal.history, HERE, [])
        assert [(one.target.name, one.reason) for one in placed] == [("fast", "first"), ("local", "next")]


def worth_it(broker: Broker, worth: float) -> Settings:
    return broker.settings.model_copy(update={"worth": worth})


def test_one_that_is_away_is_told_of_before_the_next_where_it_would_have_been_first(place: Place) -> None:
    away = Probe(False, "no route", cpus=2)
    assert order(place(10, probe=away)) == ["fast", "local"]
    assert order(place(0.5, probe=away)) == ["local", "fast"]


# Fitness


def test_a_model_that_is_too_large_for_a_gpu(place: Place) -> None:
    small = Probe(True, cpus=2, gpu="T4", gpu_memory_bytes=2 * 10**9)
    found = place(10, probe=small, memory=6 * 10**9)
    assert order(found) == ["local", "fast"]
    assert found[1].reason == "not fit: its GPU has 2.0 GB; the model needs about 6.0 GB"
    assert order(place(10, probe=replace(small, gpu_memory_bytes=None), memory=6 * 10**9)) == ["fast", "local"]


def test_a_job_that_is_too_large_for_a_disk(place: Place) -> None:
    full = Probe(True, cpus=2, disk_free_bytes=10**7)
    found = place(10, probe=full, blobs={"a": 2 * 10**7})
    assert order(found) == ["local", "fast"]
    assert found[1].reason == "not fit: its disk has 10 MB left; the job needs about 24 MB"
    assert order(place(10, probe=full, blobs={"a": 2 * 10**6})) == ["fast", "local"]


def test_a_job_that_is_longer_than_a_machine_can_be_had(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(executors.KINDS, "colab", f"{__name__}:Machine")
    about = {"kind": str(KIND), "service": "stabilize"}
    broker.journal.history.observe(COLAB, [Observation("run", 1e8, 3600, **about)])
    broker.journal.history.observe(HERE, [Observation("run", 1e8, 36000, **about)])
    found = [Candidate(COLAB, Probe(True, hours=12.0), "", 0), Candidate(HERE, WELL, "", 0, shared=True)]

    def placed(hours: float) -> list[Candidate]:
        work = Work("stabilize", KIND, hours * 1e8, 1, {})
        return placement.place(found, work, "auto", worth_it(broker, 1.2), broker.journal.history, HERE, [])

    assert order(placed(11)) == ["colab", "local"]
    assert order(placed(13)) == ["local", "colab"]
    assert placed(13)[1].reason == "not fit: it would take about 13 h, and a machine can be had there for about 12 h"


# The whole way


@pytest.fixture
def worthy(box: Box, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker that places by time."""
    monkeypatch.setenv("OFFLOAD_WORTH", "1.2")
    with Broker(settings.load()) as opened:
        yield opened


def known(broker: Broker, asked: Request, box: float, local: float) -> None:
    """Let both have a history of the request's kind, by seconds."""
    (source,) = [entry.source for entry in asked.inputs]
    kind, history = Kind.of(asked, "bytes", {}), broker.journal.history
    for name, took in (("box", box), (LOCAL, local)):
        about = {"kind": str(kind), "service": "fake"}
        seen = [Observation("run", source.stat().st_size, took, **about), Observation("start", 1, 0.1, **about)]
        history.observe(broker.targets[name], seen)


@pytest.mark.parametrize(("there", "at_home", "first"), [(1, 10, "box"), (10, 1, "local"), (9, 10, "local")])
def test_jobs_run_where_they_are_done_soonest(
    there: float, at_home: float, first: str, worthy: Broker, tmp_path: Path
) -> None:
    asked = request(tmp_path / "media", b"one")
    known(worthy, asked, there, at_home)
    drive(worthy, asked)
    (attempt,) = worthy.journal.attempts(only_job(worthy).id)
    assert attempt.target == first
    assert attempt.forecast and attempt.forecast["run"] == pytest.approx({"box": there, "local": at_home}[first])


def test_a_job_that_runs_somewhere_is_taken_up_there_whatever_is_sooner(worthy: Broker, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one")
    known(worthy, asked, box=10, local=1)
    job = worthy.submit(asked)
    with worthy.journal.turn():
        ledger = worthy.journal.ledger(job.id)
    ledger.may_remain(ledger.begin_attempt("box", "for a test"))
    drive(worthy, job)
    assert [attempt.target for attempt in worthy.journal.attempts(job.id)] == ["box"]


def test_a_preview_tries_a_link_of_which_nothing_is_known_once(worthy: Broker, box: Box, tmp_path: Path) -> None:
    asked = request(tmp_path / "media", b"one")
    plan = worthy.preview(asked, [None])
    assert [one.forecast.link for one in plan if one.forecast and one.target.name == "box"] == ["a sample"]
    moved = [operation for operation, _, _ in box.asked if operation in ("put", "get")]
    assert moved == ["put", "get"] * 2
    seen = worthy.journal.history.of(worthy.targets["box"])
    assert [(one.what, one.kind) for one in seen] == [("down", SAMPLED), ("up", SAMPLED)]
    worthy.preview(asked, [None])
    assert [operation for operation, _, _ in box.asked if operation in ("put", "get")] == moved
    assert list((tmp_path / "box/parts").iterdir()) == []  # nothing is left of it


def test_a_link_that_cannot_be_tried_is_estimated(worthy: Broker, box: Box, tmp_path: Path) -> None:
    box.faults.append(Fault("put", "parts/", Lost("box: gone")))
    plan = worthy.preview(request(tmp_path / "media", b"one"), [None])
    assert [one.forecast.link for one in plan if one.forecast] == ["estimated", "nothing to do"]


def test_a_preview_takes_no_machine(
    worthy: Broker, tmp_path: Path, offload_dirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(executors.KINDS, "rented", f"{__name__}:Machine")
    (offload_dirs / "config/targets.toml").write_text('[dear]\nurl = "rented://"\n')
    with Broker(settings.load()) as broker:
        (dear, here) = broker.preview(request(tmp_path / "media", b"one"), [None])
    assert (dear.probe.reachable, here.target.name) == (True, LOCAL)


def test_a_rented_target_that_cannot_tell_what_it_holds_breaks_no_plan(
    worthy: Broker, offload_dirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(self: Machine) -> None:
        raise Refused("dear: its record cannot be read")

    monkeypatch.setitem(executors.KINDS, "rented", f"{__name__}:Machine")
    monkeypatch.setattr(Machine, "held", held)
    (offload_dirs / "config/targets.toml").write_text('[dear]\nurl = "rented://"\n')
    with Broker(settings.load()) as broker:
        assert order(broker.preview(request(tmp_path / "media", b"one"), [None])) == ["dear", "local"]


def test_what_was_brought_to_a_machine_that_was_given_back_is_not_there(
    worthy: Broker, offload_dirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(executors.KINDS, "rented", f"{__name__}:Machine")
    (offload_dirs / "config/targets.toml").write_text('[dear]\nurl = "rented://"\n')
    asked = request(tmp_path / "media", b"one")
    with Broker(settings.load()) as broker:
        broker.journal.history.note_sent(broker.targets["dear"], [hashlib.sha256(b"one").hexdigest()])

        def to_send(taken: float | None) -> int:
            holding = None if taken is None else Holding("m", "a machine", taken, taken, 60, 60)
            monkeypatch.setattr(Machine, "holding", holding)
            return broker.preview(asked, [None])[0].send_bytes

        assert to_send(None) == 3  # none is held: the next is another
        assert to_send(0.0) == 0
        assert to_send(1e12) == 3  # it was taken after that
        broker.journal.machine_gone("dear")
        assert to_send(0.0) == 3
