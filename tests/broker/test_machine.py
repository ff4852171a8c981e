"""No order of events loses, doubles or half-publishes an item: a machine of job, attempt, lease and publication.

Real drivers on a real journal and real files, against simulated machines; see `tests.broker.simulated`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice, product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import executors
from broker import lease, staging
from broker.broker import Broker
from broker.errors import LimitError, OffloadError
from broker.job import NEXT, Job, Output, State
from broker.settings import Settings
from broker.stop import Stop
from executors.base import ExecutorError
from tests.broker.jobs import request
from tests.broker.simulated import NAMES, REFUSALS, Died, Driver, Machine, SimulatedExecutor, install, wait_a_lease

ITEMS = 2
SHM = "/dev/shm"
"""Where files cost no waiting for a disk: what a power cut does is not looked at here."""
LEASE_SECONDS = 30.0
THEIRS = b"the user's own"
Place = str | tuple[str, ...]
NAMED = ("link in media", "replace in media")
BEFORE, AFTER = tuple(f"before {step}" for step in NAMED), tuple(f"after {step}" for step in NAMED)
PUBLISHING: list[Place] = ["after events", "bin", BEFORE, AFTER, "before unlink in media"]
PLACES: list[Place] = [*PUBLISHING, "txt", "after fsync", "COMMIT", "sleep"]
"""Where it is of most interest to stop."""
TARGETS = {"one": False, "two": True}
"""Two machines; the second shares its files with us."""


class Drivers(RuleBasedStateMachine):
    """A job, what drives it, and the world it happens in."""

    @initialize(overwrite=st.booleans(), patient=st.booleans(), hurry=st.booleans())
    def submit(self, overwrite: bool, patient: bool, hurry: bool) -> None:
        self.place = tempfile.TemporaryDirectory(dir=SHM if os.access(SHM, os.W_OK) else None)
        home, self.media = Path(self.place.name) / "home", Path(self.place.name) / "media"
        self.machines = {name: Machine(home / name, shares) for name, shares in TARGETS.items()}
        for machine in self.machines.values():
            machine.hurries = hurry
        SimulatedExecutor.machines = self.machines
        self.settings = _settings(home, patient)
        self.broker = Broker(self.settings)
        contents = [b"input %d" % number for number in range(ITEMS)]
        asked = request(self.media, *contents, on=",".join(TARGETS), overwrite=overwrite, digest=True)
        self.job = self.broker.submit(asked).id
        self.overwrite, self.drivers, self.state = overwrite, list[Driver](), State.QUEUED
        self.theirs, self.settled = set[Path](), dict[tuple[int, str], Output]()
        self.careless, self.troubles = set[int](), False
        REFUSALS.clear()

    # What processes do

    @rule()
    @precondition(lambda self: len(self.drivers) < 4)
    def type_the_command(self) -> None:
        self._start("command", self._command)

    @rule()
    @precondition(lambda self: len(self.drivers) < 4)
    def cancel(self) -> None:
        self._start("cancel", lambda broker, stop: broker.cancel(broker.journal.job(self.job)))

    @rule()
    @precondition(lambda self: self.state.over and self.state is not State.DONE and len(self.drivers) < 4)
    def retry(self) -> None:
        self._start("retry", lambda broker, stop: _reopen(broker, self.job))

    @rule(number=st.integers(0, 3), seams=st.integers(1, 40))
    @precondition(lambda self: self.drivers)
    def go_on(self, number: int, seams: int) -> None:
        driver = self._chosen(number)
        self._run(driver, seams)
        driver.beat()
        self._bury()

    @rule(number=st.integers(0, 3), where=st.sampled_from(PLACES))
    @precondition(lambda self: self.drivers)
    def go_on_to(self, number: int, where: Place) -> None:
        driver = self._chosen(number)
        self._run(driver, 400, where)
        driver.beat()
        self._bury()

    @rule(number=st.integers(0, 3))
    @precondition(lambda self: self.drivers)
    def go_on_to_its_end(self, number: int) -> None:
        self._run(self._chosen(number), 400)
        self._bury()

    @rule(number=st.integers(0, 3), seams=st.integers(0, 10))
    @precondition(lambda self: self.drivers)
    def kill(self, number: int, seams: int) -> None:
        self._chosen(number).die(seams)
        self._bury()

    @rule(where=st.sampled_from(PLACES), then=st.sampled_from(PLACES), killed=st.booleans(), late=st.booleans())
    @precondition(lambda self: len(self.drivers) < 3 and not self.state.over)
    def one_is_overtaken(self, where: Place, then: Place, killed: bool, late: bool) -> None:
        """One falls asleep, a second takes over up to a point; the first wakes up then, or later."""
        first = self._start("command", self._command)
        self._run(first, 400, where)
        wait_a_lease(self.drivers, first, LEASE_SECONDS)
        second = self._start("command", self._command)
        self._run(second, 400, then)
        if killed:
            second.die(0)
        self._run(first, 0 if late else 400)
        self._bury()

    @rule()
    def the_disk_refuses_once(self) -> None:
        self.troubles = True
        REFUSALS.append(OSError(errno.EIO, "Input/output error"))

    @rule(number=st.integers(0, 3))
    @precondition(lambda self: self.drivers)
    def interrupt(self, number: int) -> None:
        self._chosen(number).stop.request()

    @rule(number=st.integers(0, 4))
    def a_lease_passes(self, number: int) -> None:
        wait_a_lease(self.drivers, self.drivers[number] if number < len(self.drivers) else None, LEASE_SECONDS)

    # What happens around them

    @rule(on=st.sampled_from([*TARGETS]), number=st.integers(0, 3), index=st.integers(0, ITEMS - 1))
    def an_item_is_done(self, on: str, number: int, index: int) -> None:
        for remote, work in self.machines[on].at_work[number : number + 1]:
            if index in work.items:
                self.machines[on].do(remote, index)

    @rule(on=st.sampled_from([*TARGETS]), index=st.integers(0, ITEMS - 1))
    def an_item_fails(self, on: str, index: int) -> None:
        for remote, work in self.machines[on].at_work[:1]:
            if index in work.items:
                self.machines[on].fail(remote, index)

    @rule(on=st.sampled_from([*TARGETS]))
    def the_script_dies(self, on: str) -> None:
        for _, work in self.machines[on].at_work:
            work.ending = {"exit": -9}

    @rule(on=st.sampled_from([*TARGETS]))
    def the_link_breaks_or_is_mended(self, on: str) -> None:
        self.machines[on].answers = not self.machines[on].answers

    @rule(on=st.sampled_from([*TARGETS]))
    def the_machine_is_wiped(self, on: str) -> None:
        for remote in list(self.machines[on].jobs):
            self.machines[on]._forget(remote)

    @rule()
    def the_breakers_close(self) -> None:
        self.broker.journal._db.execute("DELETE FROM health")

    @rule(index=st.integers(0, ITEMS - 1), name=st.sampled_from(NAMES))
    def the_user_makes_a_file(self, index: int, name: str) -> None:
        dest = self._dest(index, name)
        if not dest.exists():
            dest.write_bytes(THEIRS)
            self.theirs.add(dest)

    # What must hold

    @invariant()
    def every_file_is_whole_and_ours_or_the_user_s(self) -> None:
        job = self._now()
        for item in job.items:
            for output in item.outputs:
                self._check_output(item.index, output)

    def _check_output(self, index: int, output: Output) -> None:
        made = set[bytes]().union(
            *(machine.made.get((index, output.name), set()) for machine in self.machines.values())
        )
        planned = self._dest(index, output.name)
        for path in self._places(planned):
            assert path.read_bytes() in made | ({THEIRS} if path in self.theirs else set()), f"{path} is not whole"
        if planned in self.theirs and not self.overwrite:
            assert planned.read_bytes() == THEIRS, f"{planned} was the user's"
        known = self.settled.get((index, output.name))
        if known:
            assert output == known, f"{known} was published, and is {output} now"
        if output.published:
            self.settled[index, output.name] = output
            found = hashlib.sha256(output.dest.read_bytes()).hexdigest()
            assert found == output.sha256, f"{output.dest} is not what the journal says it is"
            places = [path for path in self._places(planned) if path not in self.theirs or path == output.dest]
            assert places == [output.dest], f"{output.name} of item {index} is there twice: {places}"

    def teardown(self) -> None:
        if not hasattr(self, "drivers"):
            return
        try:
            self._recover()
            self._check_end()
            for driver in self.drivers:
                driver.step(2000)
                assert driver.ended, f"{driver.name} goes on and on, at {driver.where}"
            self._bury()
            self._check_end()
        finally:
            for driver in self.drivers:
                driver.die(0)
            self.broker.journal.close()
            self.place.cleanup()

    def _recover(self) -> None:
        """What a person does in the end: type the command until it is done, whatever still sleeps."""
        REFUSALS.clear()
        for machine in self.machines.values():
            machine.answers = machine.hurries = True
        for _ in range(6):
            self.the_breakers_close()
            wait_a_lease([], None, LEASE_SECONDS)
            if self.state.over and self.state is not State.DONE:
                self._finish(self._start("retry", lambda broker, stop: _reopen(broker, self.job)))
            self._finish(self._start("command", self._command))
            if self.state is State.DONE:
                return
        raise AssertionError(f"the job is {self.state}, however often it is asked for")

    def _finish(self, driver: Driver) -> None:
        self._run(driver, 2000)
        self._bury()

    def _run(self, driver: Driver, seams: int, where: Place = "nowhere") -> None:
        for _ in range(seams):
            if driver.ended:
                break
            driver.step()
            self._watch_states()
            if driver.where.endswith(where):
                break

    def _check_end(self) -> None:
        job = self._now()
        assert job.state is State.DONE
        assert all(item.done for item in job.items), "an item was lost"
        self.every_file_is_whole_and_ours_or_the_user_s()
        expected = {item.source for item in job.items} | self.theirs
        expected |= {output.dest for item in job.items for output in item.outputs}
        assert {path for path in self.media.iterdir() if not self._excused(path)} == expected

    def _excused(self, path: Path) -> bool:
        """Whether it is what a late driver brought, that was killed when the job was over: nobody comes for it."""
        return path.suffix == ".part" and int(path.name.split("-")[1].split(".")[0]) in self.careless

    # Tools

    def _command(self, broker: Broker, stop: Stop) -> None:
        for _ in broker.drive(broker.journal.job(self.job), stop):
            pass

    def _start(self, name: str, body: object) -> Driver:
        def with_broker(stop: Stop) -> None:
            with Broker(self.settings) as broker:
                body(broker, stop)  # type: ignore[operator]

        self.drivers.append(Driver(f"{name} {len(self.drivers)}", with_broker))
        return self.drivers[-1]

    def _chosen(self, number: int) -> Driver:
        return self.drivers[number % len(self.drivers)]

    def _bury(self) -> None:
        for driver in [driver for driver in self.drivers if driver.ended]:
            self.drivers.remove(driver)
            expected = isinstance(driver.said, (OffloadError, ExecutorError, Died, type(None)))
            if not expected or (isinstance(driver.said, LimitError) and not self.troubles):
                raise AssertionError(f"{driver.name} ended at {driver.where} with {driver.said!r}") from driver.said
        self._watch_states()

    def _watch_states(self) -> None:
        now = State(self.broker.journal._row(self.job)["state"])
        assert now is self.state or now in NEXT[self.state], f"the job was {self.state}, and is {now}"
        self.state = now

    def _now(self) -> Job:
        return self.broker.journal.job(self.job)

    def _dest(self, index: int, name: str) -> Path:
        return self.media / (f"{index}.worked.bin" if name == "worked.bin" else f"{index}.worked.txt")

    def _places(self, planned: Path) -> list[Path]:
        """Where an output may be: under its name, and beside it."""
        places = [planned, planned.with_name(f"{planned.stem}.{self.job}{planned.suffix}")]
        return [path for path in places if path.exists()]


def _settings(home: Path, patient: bool) -> Settings:
    (home / "config").mkdir(parents=True)
    targets = "".join(f'[{name}]\nurl = "simulated://{name}"\n' for name in TARGETS)
    (home / "config" / "targets.toml").write_text(targets)
    return Settings(
        config_dir=home / "config",
        state_dir=home / "state",
        cache_dir=home / "cache",
        cgpu_config_dir=home / "cgpu",
        grace_seconds=3600 if patient else 0,
        lease_seconds=LEASE_SECONDS,
    )


def _reopen(broker: Broker, job: str) -> None:
    with suppress(lease.Held), broker._lease(broker.journal.job(job)) as ledger:
        ledger.reopen()


@pytest.fixture(autouse=True)
def _simulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(executors.KINDS, "simulated", "tests.broker.simulated:SimulatedExecutor")
    monkeypatch.setattr(staging, "PART_BYTES", 50)
    install(monkeypatch)
    yield


QUIET = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def test_no_order_of_events_loses_doubles_or_half_publishes_an_item() -> None:
    run_state_machine_as_test(
        Drivers,
        settings=settings(max_examples=25, stateful_step_count=50, deadline=None, suppress_health_check=QUIET),
    )


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_driver_that_is_overtaken_anywhere_in_its_publication(overwrite: bool, stride: int) -> None:
    """At each pair of places, with each way to end; of all four ways at each pair, every third is taken by default."""
    ways = product(PUBLISHING, PUBLISHING, (False, True), (False, True))
    for where, then, killed, late in islice(ways, overwrite, None, stride):
        game = Drivers()
        game.submit(overwrite=overwrite, patient=False, hurry=True)
        game.one_is_overtaken(where=where, then=then, killed=killed, late=late)
        game.every_file_is_whole_and_ours_or_the_user_s()
        game.teardown()


@pytest.mark.soak
def test_no_order_of_events_does_in_a_long_time() -> None:
    run_state_machine_as_test(
        Drivers,
        settings=settings(max_examples=4000, stateful_step_count=80, deadline=None, suppress_health_check=QUIET),
    )
