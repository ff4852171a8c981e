"""Where nothing can be downloaded: the job says which wheels would do, and runs once it is given those."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from _runner import environment, interpreters, state
from _runner.layout import RunnerError

from broker import wheels
from broker.stop import Stop
from tests.remote_scripts.runner.environments import (
    FIRST,
    SECOND,
    PacedUv,
    asked,
    blob,
    events,
    job,
    messages,
    start,
    wheel,
)
from tests.remote_scripts.runner.job import wait_for_end

NOBODY, NOWHERE = "http://127.0.0.1:9/", "https://no-such-host.invalid/simple"


@pytest.fixture
def offline(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No index can be reached, by pip or by uv. Returns the folder with the wheel of the tiny package."""
    for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "UV_NO_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name)
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": NOBODY, "UV_INDEX_URL": NOBODY, "UV_HTTP_RETRIES": "0"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return tiny.parent


@pytest.fixture
def no_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    """This Python cannot make environments, as Debian's: there is no way but uv."""
    bare = interpreters.here([])._replace(packages={"tinypack": None}, modules=[])
    monkeypatch.setattr(interpreters, "here", lambda names: bare)


def refusal(root: Path, wanted: dict[str, Any]) -> tuple[str, str]:
    """Kind and words of the failure that providing ends with; nothing of the build is left."""
    with pytest.raises(RunnerError) as caught, environment.provided(root, job(root, FIRST), wanted):
        pass
    assert [entry for entry in (root / "envs").iterdir() if entry.is_dir()] == []
    return caught.value.kind, str(caught.value)


def wants(root: Path) -> list[dict[str, Any]]:
    """What the first job told of wheels."""
    return [event["wheels"] for event in events(root / "jobs" / FIRST, "wants")]


class TestSaying:
    def test_by_pip(self, root: Path, offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIP_INDEX_URL", NOWHERE)
        monkeypatch.setenv("PIP_RETRIES", "0")  # it would not say then that it could not connect
        assert refusal(root, asked()) == (
            "offline",
            "the environment cannot be installed: nothing can be downloaded: "
            "No matching distribution found for tinypack==1.0; install with: pip install 'tinypack==1.0'",
        )
        assert wants(root) == [interpreters.wheels()]

    @pytest.mark.parametrize("index", [NOBODY, NOWHERE])
    def test_by_uv(
        self, root: Path, offline: Path, no_venv: None, real_uv: Path, monkeypatch: pytest.MonkeyPatch, index: str
    ) -> None:
        monkeypatch.setenv("PATH", str(real_uv.parent))
        monkeypatch.setenv("UV_INDEX_URL", index)
        kind, words = refusal(root, asked())
        assert kind == "offline"
        assert words.startswith("the environment cannot be installed: nothing can be downloaded: error: ")
        assert wants(root) == [interpreters.wheels()]
        assert not [words for words in messages(root / "jobs" / FIRST) if "trying pip" in words]

    def test_by_both_once(self, root: Path, offline: Path, uv: PacedUv) -> None:
        uv.fail("error sending request for url")
        assert refusal(root, asked())[0] == "offline"
        assert len(wants(root)) == 1
        assert messages(root / "jobs" / FIRST).count("uv cannot download anything; trying pip") == 1
        assert uv.installs == 1

    @pytest.mark.parametrize(
        "said",
        [
            "hint: Packages were unavailable because the network was disabled. When the network is disabled, ...",
            "error: Failed to fetch: https://x/\n  cause: operation timed out",
            "pip._vendor.urllib3.exceptions.ReadTimeoutError: HTTPSConnectionPool(host='x', port=443): Read timed out.",
        ],
    )
    def test_by_other_words(self, root: Path, offline: Path, no_venv: None, uv: PacedUv, said: str) -> None:
        uv.fail(said)
        assert refusal(root, asked())[0] == "offline"

    def test_a_python_that_cannot_be_fetched_is_missing(
        self, root: Path, offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "bin" / "uv"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\necho 'error: Failed to download: error sending request'\nexit 2\n")
        program.chmod(0o700)
        monkeypatch.setenv("PATH", str(program.parent))
        kind, words = refusal(root, asked(requires_python=">=3.29"))
        assert kind == "missing"
        assert words.endswith("error sending request; install with: uv python install '3.29'")
        assert wants(root) == []

    def test_a_python_that_we_know_no_wheels_of(
        self, root: Path, offline: Path, no_venv: None, uv: PacedUv, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(interpreters, "wheels_at", lambda path: None)
        uv.fail("error sending request")
        assert refusal(root, asked())[0] == "missing"
        assert wants(root) == []


class TestIndexes:
    def test_pip_finds_what_uv_does_not_know_of(
        self, root: Path, offline: Path, real_uv: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = root.with_name("pip.conf")
        settings.write_text(f"[global]\nno-index = yes\nfind-links = {offline}\n")
        monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
        monkeypatch.setenv("PATH", str(real_uv.parent))
        with environment.provided(root, job(root, FIRST), asked()) as python:
            assert python.startswith(str(root / "envs"))
        assert "uv cannot download anything; trying pip" in messages(root / "jobs" / FIRST)
        assert wants(root) == []

    def test_what_uv_says_is_not_there_is_not_looked_for_by_pip(self, root: Path, tiny: Path, uv: PacedUv) -> None:
        uv.fail("error: No solution found: there is no version of tinypack==1.0")
        kind, words = refusal(root, asked())
        assert kind == "missing"
        assert "there is no version" in words


class TestWheelsFromElsewhere:
    def fetched(self, told: dict[str, Any], folder: Path, patch: pytest.MonkeyPatch) -> list[Path]:
        """The wheels that another machine, which has an index, finds for this one."""
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder))
        return wheels.collect(["tinypack==1.0"], wheels.read(told), folder.with_name("cache"), Stop())

    @pytest.mark.parametrize("tool", ["pip", "uv"])
    def test_make_the_job_run(
        self, root: Path, offline: Path, monkeypatch: pytest.MonkeyPatch, tool: str, request: pytest.FixtureRequest
    ) -> None:
        if tool == "uv":
            monkeypatch.setenv("PATH", str(request.getfixturevalue("real_uv").parent))
        wheel(offline, needs=("tinydep>=2",))
        wheel(offline, "tinydep", "2.1")
        first = start(root, FIRST, asked())
        wait_for_end(first)
        assert (state.last_word(first) or {})["error"]["kind"] == "offline"
        (told,) = wants(root)
        with monkeypatch.context() as patch:
            found = self.fetched(told, offline, patch)
        sent = [{"name": path.name, "blob": blob(root, path)} for path in found]
        second = start(root, SECOND, asked(wheels=sent))
        wait_for_end(second)
        assert (state.last_word(second) or {}).get("exit") == 0, (second / "log.txt").read_text()
        assert Path(messages(second)[-1]).is_relative_to(root / "envs")

    @pytest.mark.parametrize("tool", ["pip", "uv"])
    def test_that_lack_a_dependency_are_not_enough(
        self, root: Path, offline: Path, monkeypatch: pytest.MonkeyPatch, tool: str, request: pytest.FixtureRequest
    ) -> None:
        if tool == "uv":
            monkeypatch.setenv("PATH", str(request.getfixturevalue("real_uv").parent))
        sent = wheel(offline, needs=("tinydep>=2",))
        kind, words = refusal(root, asked(wheels=[{"name": sent.name, "blob": blob(root, sent)}]))
        assert kind == "missing"
        assert words.startswith("the environment cannot be installed: the packages that were sent are not enough: ")
        assert "tinydep" in words.partition("; install with: ")[0]
        assert words.endswith("; install with: pip install 'tinypack==1.0'")
        assert wants(root) == []

    def test_that_fail_by_the_network_are_not_asked_for_again(self, root: Path, offline: Path, uv: PacedUv) -> None:
        uv.fail("error sending request for url")
        sent = wheel(offline)
        kind, _ = refusal(root, asked(wheels=[{"name": sent.name, "blob": blob(root, sent)}]))
        assert kind == "missing"
        assert wants(root) == []
