"""`offload targets rm` and `release` of a machine that is rented, and what is told of one nobody looks after."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from broker import keeper, settings
from executors.colab import ColabExecutor
from tests.colab.conftest import configure, google, keepers, no_keeper_is_left
from tests.colab.double import Double
from tests.offload.background import until
from tests.services.typed import fake, offload

__all__ = ["google", "no_keeper_is_left"]


@pytest.fixture
def held(google: Double, offload_dirs: Path) -> str:
    """The name of a runtime that was taken, of which nobody takes care."""
    with ColabExecutor("colab", google.options(state=offload_dirs / "state/colab/colab")):
        (endpoint,) = google.runtimes
    return endpoint


def test_what_nobody_looks_after_is_told_and_looked_after_from_then_on(
    google: Double, held: str, offload_dirs: Path, tmp_path: Path
) -> None:
    first = offload(tmp_path, "doctor")
    assert "colab still holds a Colab runtime (T4), taken on " in first.err + first.out.decode()
    assert "offload targets release colab" in first.out.decode()
    until(lambda: google.faults.calls["keep-alive"], "a keeper says that it is in use")
    second = offload(tmp_path, "doctor")
    assert "still holds" not in second.err + second.out.decode()
    assert len(keepers(offload_dirs)) == 1


def test_release_gives_it_back_at_once(google: Double, held: str, tmp_path: Path) -> None:
    said = offload(tmp_path, "targets", "release", "colab")
    assert (said.code, said.err.splitlines()[-1]) == (0, "a Colab runtime (T4) is given back")
    assert google.control.ended == {held: "released"}
    again = offload(tmp_path, "targets", "release", "colab")
    assert (again.code, again.err.splitlines()[-1]) == (0, "colab held nothing")


def test_a_target_that_rents_nothing_has_nothing_to_give_back(tmp_path: Path) -> None:
    said = offload(tmp_path, "targets", "release", "local")
    assert said.code == 2
    assert "takes no machines" in said.err


def test_rm_gives_it_back_and_leaves_no_login(google: Double, held: str, offload_dirs: Path, tmp_path: Path) -> None:
    said = offload(tmp_path, "targets", "rm", "colab")
    assert said.code == 0, said.err
    assert google.control.ended == {held: "released"}
    assert not (offload_dirs / "state/colab/colab/login.json").exists()


def test_rm_keeps_what_it_cannot_give_back(google: Double, held: str, offload_dirs: Path, tmp_path: Path) -> None:
    with google.offline():
        said = offload(tmp_path, "targets", "rm", "colab")
    assert said.code == 5, said.err
    assert "[colab]" in (offload_dirs / "config/targets.toml").read_text()
    assert list(google.runtimes) == [held]


def test_an_idle_runtime_is_given_back_by_itself(google: Double, offload_dirs: Path, tmp_path: Path) -> None:
    configure(offload_dirs, google, idle_seconds=0.5)
    (tmp_path / "a.dat").write_text("a")
    assert fake(tmp_path, "a.dat").code == 0
    until(lambda: "released" in google.control.ended.values(), "the keeper gives it back")
    until(lambda: not keepers(offload_dirs), "the keeper ends")
    log = keeper._path(settings.load(os.environ), "colab", "log").read_text()
    assert "is given back" in log
