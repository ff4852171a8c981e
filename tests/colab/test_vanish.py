"""Runtimes that vanish: one new one takes what is missing while there is quota, else the next target does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.colab.conftest import configure
from tests.colab.double import Double, double
from tests.colab.jobs import (
    HERE,
    LOST,
    THERE,
    assert_ended,
    assert_nothing_left,
    at_work,
    come_to,
    furnish,
    taken,
    wire_to,
)
from tests.services.typed import offload
from tests.ssh.conftest import CLIP_BYTES, clip
from tests.ssh.jobs import Work

__all__ = ["clip"]

pytestmark = pytest.mark.usefixtures("nothing_is_left")

small = pytest.mark.parametrize("clip", [1000], indirect=True)


@pytest.fixture
def google(request: pytest.FixtureRequest, tmp_path: Path, offload_dirs: Path) -> Iterator[Double]:
    """Google with machines behind wires, the first two of them started."""
    with double(tmp_path / "google", warm=getattr(request, "param", 2), wired=True) as google:
        furnish(google)
        google.log_in(offload_dirs / "state/colab/colab")
        configure(offload_dirs, google)
        yield google


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine ends at once, and the control plane knows it a moment later."""
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "100")


def siblings(clip: Path, count: int) -> list[Path]:
    """A clip and more beside it."""
    more = [clip.with_name(f"{number}.dat") for number in range(1, count)]
    for other in more:
        other.write_text(other.name)
    return [clip, *more]


def assert_told(err: str, target: str, times: int = 1) -> None:
    """A line says that the runtime was taken back, and where the job went on."""
    lines = [line for line in err.splitlines() if "going on with" in line]
    assert len([line for line in lines if "taken the runtime" in line and f"going on with {target}" in line]) == times


# With quota for another


@pytest.mark.parametrize("stage", ["upload", "download"])
def test_one_new_runtime_is_taken_where_the_first_vanished_in(stage: str, google: Double, clip: Path) -> None:
    work = Work(clip, size=CLIP_BYTES if stage == "download" else 1000)
    with work.typed() as command:
        lost = taken(command, google)
        come_to(command, work, google.runtimes[lost], stage)
        google.vanish(lost)
        said = work.end(command)
    assert_ended(work, said, LOST, THERE)
    assert_told(said.err, "colab")
    assert google.faults.calls["assign"] == 2
    assert google.control.ended == {lost: "vanished"}
    assert_nothing_left(google)


@small
def test_of_five_items_those_that_are_here_are_not_done_again(google: Double, clip: Path) -> None:
    work = Work(*siblings(clip, 5))
    with work.typed() as command:
        lost = taken(command, google)
        for index in range(3):
            work.go_on(index)
            command.comes_to(work.outputs[index].exists)
        google.vanish(lost)
        said = work.end(command)
    assert_ended(work, said, LOST, THERE, made=[1, 1, 1, 2, 2])
    assert google.faults.calls["assign"] == 2
    assert_nothing_left(google)


@small
def test_where_the_new_one_vanishes_too_the_next_target_goes_on(google: Double, clip: Path) -> None:
    work = Work(*siblings(clip, 3))
    with work.typed() as command:
        first = taken(command, google)
        work.go_on(0)
        command.comes_to(work.outputs[0].exists)
        google.vanish(first)
        second = taken(command, google, but=first)
        work.go_on(1)
        command.comes_to(work.outputs[1].exists)
        google.vanish(second)
        said = work.end(command)
    assert_ended(work, said, LOST, LOST, HERE, made=[1, 2, 3])
    assert_told(said.err, "local")
    assert google.faults.calls["assign"] == 2
    assert not google.runtimes


# Without


@small
@pytest.mark.parametrize("google", [1], indirect=True)
def test_without_quota_the_next_target_does_the_rest(google: Double, clip: Path) -> None:
    work = Work(*siblings(clip, 3))
    with work.typed() as command:
        lost = taken(command, google)
        work.go_on(0)
        command.comes_to(work.outputs[0].exists)
        google.control.quota = 0
        google.vanish(lost)
        said = work.end(command)
    assert_ended(work, said, LOST, HERE, made=[1, 2, 2])
    assert_told(said.err, "local")
    assert google.faults.calls["assign"] == 1


# While the control plane knows nothing of it


@small
@pytest.mark.parametrize("google", [1], indirect=True)
def test_one_that_is_still_listed_is_waited_for_and_then_the_next_target_does_the_rest(
    google: Double, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "1")
    work = Work(clip)
    with work.typed() as command:
        lost = taken(command, google)
        command.comes_to(lambda: at_work(google.runtimes[lost]))
        google.vanish(lost, forget=False)
        said = work.end(command)
    assert_ended(work, said, LOST, HERE)
    assert said.err.count("waiting for it") == 1
    assert said.err.count("going on with local") == 1
    assert google.faults.calls["assign"] == 1


@small
@pytest.mark.parametrize("google", [1], indirect=True)
def test_offline_for_longer_than_the_grace_the_next_target_does_the_rest(
    google: Double, clip: Path, offload_dirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_GRACE_SECONDS", "1")
    configure(offload_dirs, google, silence=10)
    work = Work(clip)
    with work.typed() as command:
        silent = taken(command, google)
        command.comes_to(lambda: at_work(google.runtimes[silent]))
        google.runtimes[silent].cut()
        wire_to(google.runtimes[silent]).cut()  # which is noticed sooner than silence
        with google.offline():
            said = work.end(command)
        google.runtimes[silent].mend()
    assert_ended(work, said, LOST, HERE)
    assert said.err.count("waiting for it") == 1
    assert said.err.count("going on with local") == 1
    assert (list(google.runtimes), google.faults.calls["assign"]) == ([silent], 1)  # it is ours still
    cleaned = offload(clip.parent, "targets", "clean", "colab")
    assert "1 job ended and deleted on colab" in cleaned.err
    assert_nothing_left(google, but_kernels=True)  # who was offline could end none
