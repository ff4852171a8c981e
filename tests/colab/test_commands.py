"""Whole commands on Colab: the same bytes as here, a runtime taken once and used again."""

from __future__ import annotations

from pathlib import Path

from tests import fakework
from tests.colab.double import Double
from tests.services.typed import fake, stabilize
from tests.ssh.jobs import tried

SAMPLE = Path(__file__).parents[2] / "examples/handheld.mp4"


def test_the_same_bytes_there_as_here(google: Double, tmp_path: Path) -> None:
    for target in ("local", "colab"):
        said = stabilize(tmp_path, SAMPLE, "-o", f"{target}.mp4", "--on", target, "--preset", "ultrafast", "--json")
        assert said.code == 0, said.err
        assert tried(said) == [(target, "done")]
    assert said.document["attempts"][0]["versions"]["gpu"] == "Tesla T4"
    assert (tmp_path / "local.mp4").read_bytes() == (tmp_path / "colab.mp4").read_bytes()


def test_it_comes_first_by_itself_and_one_runtime_does_for_all(google: Double, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.dat").write_text(name)
        said = fake(tmp_path, f"{name}.dat", "--json")
        assert said.code == 0, said.err
        assert tried(said) == [("colab", "done")]
        assert (tmp_path / f"{name}.worked.bin").read_bytes() == fakework.expected(name.encode())
    assert google.faults.calls["assign"] == 1
    assert len(google.runtimes) == 1
