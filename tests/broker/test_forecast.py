"""A forecast comes near what happens, after few jobs of a kind, whatever a history looks like."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from broker import priors, speeds
from broker.database import Database
from broker.forecast import ELSEWHERE, PRIOR, SAMPLED, Forecast, Forecasts, Place, read, told
from broker.history import KEPT_OF_A_KIND, KEPT_OF_A_SERVICE, History, Observation
from broker.targets import LOCAL, Target
from broker.work import Kind, Work
from executors.base import Probe
from tests.broker.histories import Past, recorded

BOX, HERE = Target("box", "ssh", {"url": "ssh://box"}), Target(LOCAL, "local", {"root": "/tmp/here"})
THERE, AT_HOME = Place(BOX, Probe(True, cpus=8), shared=False), Place(HERE, Probe(True, cpus=2), shared=True)
KIND = Kind("pixels", "-", "a")
JOBS = 25
LEARNING = 5


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    database = Database(tmp_path / "journal.sqlite3")
    yield History(database)
    database.close()


def work(amount: float = 1e8, kind: Kind = KIND, blobs: int = 0, service: str = "stabilize", items: int = 1) -> Work:
    return Work(service, kind, amount, items, {"blob": blobs} if blobs else {})


def forecast(history: History, wanted: Work, place: Place = THERE) -> Forecast:
    (found,) = Forecasts(wanted, history, AT_HOME).on([place])
    return found


def errors(history: History, pasts: Sequence[Past]) -> list[float]:
    """How far off each forecast was, once `LEARNING` jobs of its kind had run; each made from what was before it."""
    seen, found = Counter[tuple[Kind, str]](), []
    for past in pasts:
        key = past.work.kind, past.target
        if seen[key] >= LEARNING:
            expected = forecast(history, past.work, AT_HOME if past.target == LOCAL else THERE).total
            assert expected is not None
            found.append(abs(expected - past.took) / past.took)
        seen[key] += 1
        history.observe(HERE if past.target == LOCAL else BOX, past.observed)
    return found


# Simulated histories


def past(
    amount: float,
    start: float,
    run: float,
    up: float,
    size: int,
    kind: Kind = KIND,
    out: float = 0.0,
    down: float = 0.0,
) -> Past:
    """A job as `broker.measure` would have seen it. Times in seconds; `size` bytes went there and `out` came back."""
    about = {"kind": str(kind), "service": "stabilize"}
    moved = [Observation(way, most, took) for way, most, took in (("up", size, up), ("down", out, down)) if took]
    seen = (Observation("start", 1, start, **about), Observation("run", amount, run, **about), *moved)
    made = Observation("out", amount, out, **about)
    return Past(work(amount, kind, size if up else 0), "box", start + run + up + down, (*seen, made))


def steady(chance: random.Random, noise: float) -> Iterator[Past]:
    for _ in range(JOBS):
        factor = chance.gauss(1, noise)
        yield past(1e8, 3 * chance.gauss(1, noise), 20 * max(factor, 0.3), 8 * max(chance.gauss(1, noise), 0.3), 10**7)


def warm_up(chance: random.Random, noise: float) -> Iterator[Past]:
    """The first has an environment built, and the processor's own caches are cold."""
    for number in range(JOBS):
        start, slow = (120.0, 2.0) if number == 0 else (3.0, 1.0)
        yield past(1e8, start, 20 * slow * chance.gauss(1, noise), 2.0, 10**7)


def slows(chance: random.Random, noise: float) -> Iterator[Past]:
    """From the middle on, the link has a third of its speed."""
    for number in range(JOBS):
        up = 12 * (3 if number >= JOBS // 2 else 1) * chance.gauss(1, noise)
        yield past(1e8, 3, 10 * chance.gauss(1, noise), up, 10**7)


def two_kinds(chance: random.Random, noise: float) -> Iterator[Past]:
    for number in range(2 * JOBS):
        kind, speed = (KIND, 5e6) if number % 2 else (Kind("pixels", "-", "fast"), 4e7)
        yield past(1e8, 2, 1e8 / speed * chance.gauss(1, noise), 1.0, 10**7, kind)


def sizes(chance: random.Random, noise: float) -> Iterator[Past]:
    """Amounts of one to a hundred, and six seconds that each job costs whatever its size."""
    for _ in range(JOBS):
        amount = 10 ** chance.uniform(6.5, 8.5)
        yield past(amount, 2, (6 + amount / 5e6) * chance.gauss(1, noise), amount / 1e7, max(int(amount / 10), 10**6))


def outputs(chance: random.Random, noise: float) -> Iterator[Past]:
    """Long and short clips, whose results take as long to come back as to be made, and are not all equally dense."""
    for _ in range(JOBS):
        amount = 10 ** chance.uniform(7.5, 8.5)
        out = amount / 20 * chance.gauss(1, noise)
        yield past(amount, 2, amount / 5e6, 1.0, 10**7, out=out, down=out / 250_000)


def accidents(chance: random.Random, noise: float) -> Iterator[Past]:
    """Now and then something else is going on there, and it takes ten times as long."""
    for number in range(JOBS):
        slow = 10.0 if number % 7 == 3 else 1.0
        yield past(1e8, 2, 20 * slow * chance.gauss(1, noise), 1.0, 10**7)


@pytest.mark.parametrize("noise", [0.1, 0.2])
@pytest.mark.parametrize("shape", [steady, warm_up, slows, two_kinds, sizes, outputs, accidents])
@pytest.mark.parametrize("seed", range(5))
def test_after_five_jobs_a_forecast_is_within_30_percent_in_simulated_histories(
    seed: int, shape: Callable[[random.Random, float], Iterator[Past]], noise: float, history: History
) -> None:
    found = errors(history, list(shape(random.Random(seed), noise)))
    assert len(found) >= JOBS - LEARNING
    assert median(found) < 0.3


def test_a_link_that_slows_is_believed_after_three_jobs(history: History) -> None:
    for one in slows(random.Random(1), 0.0):
        history.observe(BOX, one.observed)
    assert forecast(history, work(blobs=10**7)).upload.seconds == pytest.approx(36)
    history.observe(BOX, [Observation("up", 10**7, 1.0)] * 2)
    assert forecast(history, work(blobs=10**7)).upload.seconds == pytest.approx(36)
    history.observe(BOX, [Observation("up", 10**7, 1.0)])
    assert forecast(history, work(blobs=10**7)).upload.seconds == pytest.approx(1)


# Recorded ones


@pytest.mark.parametrize("target", ["local", "far"])
@pytest.mark.parametrize("service", ["stabilize", "fake"])
def test_after_five_jobs_a_forecast_is_within_30_percent_in_recorded_histories(
    service: str, target: str, history: History
) -> None:
    pasts = [one for one in recorded("here") if (one.work.service, one.target) == (service, target)]
    found = errors(history, pasts)
    assert len(found) >= 7
    assert median(found) < 0.3


@pytest.mark.parametrize("target", ["local", "far"])
def test_where_other_work_changes_a_machines_speed_tenfold_a_forecast_is_within_half(
    target: str, history: History
) -> None:
    pasts = [one for one in recorded("busy") if (one.work.service, one.target) == ("stabilize", target)]
    assert max(one.took / one.work.amount for one in pasts) > 2 * min(one.took / one.work.amount for one in pasts)
    assert median(errors(history, pasts)) < 0.5


# How well it is known


def test_the_nearest_that_was_measured_is_used_and_said(history: History) -> None:
    def observe(kind: Kind, rate: float, times: int = 1) -> None:
        seen = [Observation("run", 1e6, 1e6 / rate, str(kind), "stabilize")] * times
        history.observe(BOX, seen)

    def known() -> tuple[float, str]:
        found = forecast(history, work(1e8, Kind("pixels", "m", "a"))).run
        assert found.seconds is not None
        return found.seconds, found.known

    assert known()[1] == PRIOR
    observe(Kind("pixels", "other", "a"), 1e6)
    assert known() == (pytest.approx(100), "measured once with other models")
    observe(Kind("pixels", "m", "b"), 2e6)
    assert known() == (pytest.approx(50), "measured once with other parameters")
    observe(Kind("pixels", "m", "a"), 5e6, times=7)
    assert known() == (pytest.approx(20), "measured 7 times")
    observe(Kind("bytes", "m", "a"), 1.0)
    assert known() == (pytest.approx(20), "measured 7 times")


def test_what_was_measured_here_is_scaled_for_a_target_as_the_priors_differ(history: History) -> None:
    history.observe(HERE, [Observation("run", 1e6, 1.0, str(KIND), "stabilize")])
    found = forecast(history, work(1e8), THERE)
    assert found.run.seconds == pytest.approx(100 * 2 / 8)  # it has four times the cores
    assert found.run.known == ELSEWHERE.format(LOCAL)
    assert not found.measured


def test_priors_scale_with_cores_and_know_gpus(history: History) -> None:
    one, eight = (Place(BOX, Probe(True, cpus=cpus), shared=False) for cpus in (1, 8))
    slow, quick = (forecast(history, work(), place).run.seconds for place in (one, eight))
    assert slow and quick and slow == pytest.approx(8 * quick)
    enlarge = work(service="upscale")
    two, gpu = (Place(BOX, Probe(True, cpus=2, gpu=gpu), shared=False) for gpu in (None, "T4"))
    plain, fast = (forecast(history, enlarge, place).run.seconds for place in (two, gpu))
    assert plain and fast and fast < plain / 5


def test_a_model_of_twice_the_size_is_expected_to_take_twice_as_long(history: History) -> None:
    kind, weights = Kind("seconds", "m", "a"), 145_000_000
    took = [
        forecast(history, Work("transcribe", kind, 60, 1, {}, weights=count)).run.seconds
        for count in (weights, 2 * weights)
    ]
    assert took[0] and took[1] == pytest.approx(2 * took[0])


def test_a_service_that_nobody_knows_has_no_time(history: History) -> None:
    found = forecast(history, work(service="fake"))
    assert (found.total, found.run.seconds, found.run.known) == (None, None, "never measured")
    assert "run" not in found.seconds()


def test_a_job_of_which_only_the_bytes_are_known_is_forecast_by_those(history: History) -> None:
    kind = Kind("bytes", "-", "a")
    history.observe(BOX, [Observation("run", 1000, 2.0, str(kind), "stabilize")])
    found = forecast(history, work(5000, kind))
    assert (found.run.seconds, found.run.known) == (pytest.approx(10), "measured once")


def test_every_service_with_an_amount_has_priors_in_its_unit() -> None:
    import services

    for name in services.names():
        service = services.find(name)
        if service.unit:
            asked = Work(name, Kind(service.unit, "-", "a"), 100, 1, {})
            assert priors.run(asked, THERE.machine), name


# Phases


def test_what_is_there_already_is_not_sent(history: History) -> None:
    wanted = Work("stabilize", KIND, 1e8, 2, {"a": 10**6, "b": 10**7})
    history.note_sent(BOX, ["b", "c"])
    (found,) = Forecasts(wanted, history, AT_HOME, lambda target: history.sent(target, wanted.blobs)).on([THERE])
    assert found.send_bytes == 10**6


def test_a_target_that_shares_files_is_sent_nothing_and_sends_nothing_back(history: History) -> None:
    found = forecast(history, work(blobs=10**9), AT_HOME)
    assert (found.send_bytes, found.upload.seconds, found.download.seconds) == (0, 0, 0)


def test_where_a_machine_is_taken_first_such_starts_tell(history: History) -> None:
    def starts(cold: bool) -> float | None:
        return forecast(history, work(), replace(THERE, cold=cold)).start.seconds

    about = {"kind": str(KIND), "service": "stabilize"}
    history.observe(BOX, [Observation("cold", 1, 60, **about)])
    assert (starts(True), starts(False)) == (60, 60)
    history.observe(BOX, [Observation("start", 1, 2, **about)])
    assert (starts(True), starts(False)) == (60, 2)


def test_what_will_be_prepared_here_is_what_travels(history: History) -> None:
    kind = Kind("seconds", "-", "a")
    about = {"kind": str(kind), "service": "transcribe"}
    history.observe(HERE, [Observation("prepare", 60, 3, **about), Observation("payload", 60, 1.2e6, **about)])
    found = forecast(history, Work("transcribe", kind, 600, 1, {}, unprepared=600))
    assert found.prepare.seconds == pytest.approx(30)
    assert found.send_bytes == pytest.approx(12e6)
    assert read(found.seconds()) == pytest.approx((found.total or 0) - 30, rel=1e-3)


def test_of_a_batch_only_the_last_download_is_waited_for(history: History) -> None:
    seen = [Observation("run", 1e8, 100.0, str(KIND), "stabilize"), Observation("down", 1e7, 10.0)]
    history.observe(BOX, [*seen, Observation("out", 1e8, 1e7, str(KIND), "stabilize")])
    assert forecast(history, work(items=1)).download.seconds == pytest.approx(10)
    assert forecast(history, work(items=10)).download.seconds == pytest.approx(1)


def test_a_sample_of_a_link_gives_way_to_what_a_job_measured(history: History) -> None:
    history.observe(BOX, [Observation("up", 1e6, 1.0, SAMPLED)])
    first = forecast(history, work(blobs=10**7))
    assert (first.upload.seconds, first.link) == (pytest.approx(10), "a sample")
    history.observe(BOX, [Observation("up", 1e6, 3.0)])
    second = forecast(history, work(blobs=10**7))
    assert (second.upload.seconds, second.link) == (pytest.approx(30), "measured once")


# The tables


@pytest.mark.parametrize("jump", [0.0, -1e9, 1e12])
def test_a_clock_that_jumps_changes_no_forecast(jump: float, tmp_path: Path) -> None:
    times = iter([2e12, 2e12 + 1, 2e12, jump, jump + 1, 1e9, 1e9 + 1])
    database = Database(tmp_path / "journal.sqlite3")
    history = History(database, clock=lambda: next(times))
    for rate in (1e6, 1e6, 1e6, 4e6, 4e6, 4e6, 4e6):
        history.observe(BOX, [Observation("run", 1e8, 1e8 / rate, str(KIND), "stabilize")])
    assert forecast(history, work()).run.seconds == pytest.approx(25)
    database.close()


def test_the_table_keeps_the_latest_of_each_kind_and_no_more(history: History) -> None:
    for number in range(KEPT_OF_A_KIND + 10):
        history.observe(BOX, [Observation("run", 1, number, "pixels/-/a", "stabilize")])
    history.observe(HERE, [Observation("run", 1, 1, "pixels/-/a", "stabilize")])
    kept = [one.seconds for one in history.of(BOX, "stabilize")]
    assert kept == list(range(KEPT_OF_A_KIND + 9, 9, -1))
    assert len(history.of(HERE, "stabilize")) == 1
    history.observe(BOX, [Observation("run", 1, 1, f"pixels/-/{number}", "stabilize") for number in range(400)])
    assert len(history.of(BOX, "stabilize")) == KEPT_OF_A_SERVICE


def test_a_target_that_was_configured_anew_is_another(history: History) -> None:
    history.observe(BOX, [Observation("run", 1, 1, "pixels/-/a", "stabilize")])
    history.note_sent(BOX, ["a"])
    again = Target("box", "ssh", {"url": "ssh://box", "port": "2"})
    assert history.of(again, "stabilize") == []
    assert history.sent(again, ["a"]) == set()


def test_blobs_are_forgotten_when_a_target_says_so(history: History) -> None:
    many = [f"{number:064x}" for number in range(1200)]
    history.note_sent(BOX, many)
    assert history.sent(BOX, many) == set(many)
    history.drop_sent("box", many[:1000])
    assert history.sent(BOX, many) == set(many[1000:])
    assert sorted(history.sent_to("box")) == many[1000:]
    assert history.sent(BOX, many, since=math.inf) == set()


# The figures themselves


def test_a_median_minds_no_outlier_and_follows_what_is_new() -> None:
    assert speeds.median([3, 100, 3, 3]) == 3
    assert speeds.median([100, 3, 3, 3]) == 3
    assert speeds.median([9, 9, 9, 3, 3, 3, 3, 3]) == 9
    assert speeds.median([9, 9, 3, 3, 3, 3, 3, 3]) == 3
    with pytest.raises(ValueError, match="nothing"):
        speeds.median([])


def test_a_line_tells_what_a_job_costs_from_what_its_size_does() -> None:
    points = [(amount, 6 + amount / 5) for amount in (10.0, 100.0, 50.0, 500.0, 20.0)]
    assert speeds.seconds(points, 1000) == pytest.approx(206)
    assert speeds.seconds(points, 1) == pytest.approx(6.2)
    points[2] = (50.0, 900.0)
    assert speeds.seconds(points, 1000) == pytest.approx(206)
    assert speeds.seconds([(10.0, 2.0), (12.0, 2.6)], 100) == pytest.approx(21.67, rel=0.1)


def test_a_time_is_told_as_people_tell_it() -> None:
    assert [told(seconds) for seconds in (0.4, 9.2, 40, 540, 7800, 36_000 * 2)] == [
        "less than a second",
        "about 9 s",
        "about 40 s",
        "about 9 min",
        "about 2 h 10 min",
        "about 20 h",
    ]
