"""Models on Colab: a machine is taken to be filled, and looked after like one that is taken for a job."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.colab.conftest import keepers
from tests.colab.double import Double
from tests.hub import Hub
from tests.offload.background import until
from tests.services.typed import offload

FILES = {"config.json": b"{}", "model.safetensors": b"weights" * 20_000}


def test_a_cache_is_filled_before_the_first_job(
    google: Double, offload_dirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        hub.publish("a/b", FILES)
        assert offload(tmp_path, "models", "prefetch", "a/b").code == 0  # whoever cannot fetch is sent it from here
        said = offload(tmp_path, "models", "prefetch", "a/b", "--on", "colab")
        assert (said.code, said.lines) == (0, ["a/b"]), said.err
        until(lambda: len(keepers(offload_dirs)) == 1, lambda: "that one keeper looks after the machine")
        rows = offload(tmp_path, "models", "ls", "--json", "--on", "colab").document
        assert [row["here"] for row in rows if row["name"] == "a/b"] == ["yes"]
        assert offload(tmp_path, "targets", "release", "colab").code == 0


def test_no_machine_is_taken_to_look_or_to_delete(google: Double, offload_dirs: Path, tmp_path: Path) -> None:
    rows = offload(tmp_path, "models", "ls", "--json", "--on", "colab").document
    assert {row["here"] for row in rows} == {"no"}
    assert offload(tmp_path, "models", "rm", "tiny", "--on", "colab").code == 0
    assert keepers(offload_dirs) == []
    assert google.runtimes == {}
