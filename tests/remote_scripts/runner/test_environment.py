"""The interpreter a script gets: found, or built once."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from _runner import blobs, build, environment, interpreters, machine, state
from _runner.layout import RunnerError

from tests.remote_scripts.runner.environments import (
    FIRST,
    SECOND,
    THIRD,
    PacedUv,
    asked,
    blob,
    events,
    job,
    messages,
    start,
    wait_for,
)
from tests.remote_scripts.runner.job import wait_for_end


def provide(root: Path, name: str, wanted: dict[str, Any]) -> str:
    """The interpreter that the job `name` gets."""
    with environment.provided(root, job(root, name), wanted) as python:
        return str(python)


def only_place(root: Path) -> environment.Place:
    """The only environment under the root."""
    (folder,) = [entry for entry in (root / "envs").iterdir() if entry.is_dir()]
    return environment.Place(folder)


class TestFinding:
    def test_without_build_what_is_missing_is_an_error(self, root: Path, uv: PacedUv) -> None:
        with pytest.raises(RunnerError, match=r"tinypack==1\.0 is not installed; install with: pip install 'tiny"):
            provide(root, FIRST, asked(build=False))
        assert not (root / "envs").exists()

    def test_the_runner_s_own_interpreter_is_used_as_it_is(self, root: Path, uv: PacedUv) -> None:
        assert provide(root, FIRST, asked(dependencies=["pytest"])) == sys.executable
        assert not (root / "envs").exists()
        (told,) = events(root / "jobs" / FIRST, "versions")
        assert {name: value for name, value in told["versions"].items() if not name.startswith("torch")} == {
            "python": platform.python_version(),
            "interpreter": sys.executable,
            "environment_seconds": 0.0,
            **machine.versions(),
        }

    def test_so_is_another_one_that_has_it_all(self, root: Path, uv: PacedUv, monkeypatch: pytest.MonkeyPatch) -> None:
        provide(root, FIRST, asked())
        program = uv.folder / "bin" / "python3.29"
        program.write_text(f'#!/bin/sh\nexec {only_place(root).python} "$@"\n')
        program.chmod(0o700)
        other = root.with_name("other")
        assert provide(other, FIRST, asked()) == str(program)
        assert not (other / "envs").exists()

    @pytest.mark.parametrize("says", ["exit 127", "echo 3.12", "echo '[]'", 'echo \'{"version": "3.12.1"}\''])
    def test_a_program_that_is_no_python_is_passed_over(self, root: Path, uv: PacedUv, says: str) -> None:
        program = uv.folder / "bin" / "python3.12"
        program.write_text(f"#!/bin/sh\n{says}\n")
        program.chmod(0o700)
        assert list(interpreters.others([])) == []

    @pytest.mark.parametrize(("requires", "chosen"), [(">=3.90", "python3.13"), (">=3.8", ""), (">=3.91", "python3.9")])
    def test_the_first_python_in_range_is_built_on(self, uv: PacedUv, requires: str, chosen: str) -> None:
        for name, version in {"python3.9": "3.91", "python3.13": "3.90", "python3.14": "3.90"}.items():
            told = f'{{"version": "{version}", "packages": {{}}, "modules": []}}'
            (uv.folder / "bin" / name).write_text(f"#!/bin/sh\necho '{told}'\n")
            (uv.folder / "bin" / name).chmod(0o700)
        if requires == ">=3.90":
            (uv.folder / "bin" / "python3.9").unlink()
        wanted = {"requires_python": requires}
        assert build.base(wanted) == (str(uv.folder / "bin" / chosen) if chosen else sys.executable)

    @pytest.mark.parametrize(("requires", "version"), [(">=3.26", "3.26"), (">=3.26.1", "3.27"), (">=3.99", ">=3.99")])
    def test_uv_finds_the_oldest_python_where_there_is_none(self, uv: PacedUv, requires: str, version: str) -> None:
        assert build.base({"requires_python": requires}) == version

    def test_without_uv_it_says_which_python_is_needed(self, root: Path, tiny: Path) -> None:
        with pytest.raises(RunnerError, match=r"Python >=3\.99 is needed .* or uv, .* install with: ") as caught:
            provide(root, FIRST, asked(requires_python=">=3.99"))
        assert caught.value.kind == "missing"
        assert not list((root / "envs").glob("*/"))

    def test_uv_is_looked_for_where_it_installs_itself(self, tmp_path: Path, tiny: Path) -> None:
        (tmp_path / "home/.local/bin").mkdir(parents=True)
        (tmp_path / "home/.local/bin/uv").touch(0o700)
        assert interpreters.program("uv") == str(tmp_path / "home/.local/bin/uv")

    def test_prepare_builds_nothing(self, root: Path, uv: PacedUv) -> None:
        assert environment.prepare(root, {"environment": asked()}) == {"python": sys.executable, "ready": False}
        python = provide(root, FIRST, asked())
        assert environment.prepare(root, {"environment": asked()}) == {"python": python, "ready": True}


class TestBuilding:
    def test_by_venv_and_pip_once_for_all_jobs(self, root: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIP_USER", "1")  # as some people have it, and no environment can
        first = start(root, FIRST, asked())
        wait_for_end(first)
        assert (state.last_word(first) or {}).get("exit") == 0, (first / "log.txt").read_text()
        said, where = messages(first)[0], messages(first)[-1]
        place = only_place(root)
        assert said == "installing the environment"
        assert {entry.name for entry in place.folder.iterdir()} == {"venv", "complete.json"}
        assert Path(where).is_relative_to(place.folder / "venv")
        assert "Successfully installed tinypack-1.0" in (first / "log.txt").read_text()
        (told,) = events(first, "versions")
        assert told["versions"]["python"] == platform.python_version()
        assert told["versions"]["interpreter"] == place.python
        assert told["versions"]["environment_seconds"] > 0
        second = start(root, SECOND, asked())
        wait_for_end(second)
        assert messages(second) == [where]
        assert events(second, "versions") == [told]

    def test_from_wheels_that_came_as_blobs(self, root: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_NO_INDEX", "0")
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        wheels = [{"name": tiny.name, "blob": blob(root, tiny)}]
        assert provide(root, FIRST, asked(wheels=wheels)) == only_place(root).python
        assert [entry.name for entry in (root / "blobs").iterdir()] == [wheels[0]["blob"]]
        assert "Retrying" not in (root / "jobs" / FIRST / "log.txt").read_text(), "it asked the internet"

    @pytest.mark.parametrize("name", ["../a.whl", "a/b.whl", "-r.whl", ".whl", "a.zip", "a.whl\n", ""])
    def test_a_wheel_has_the_name_of_one(self, root: Path, uv: PacedUv, name: str) -> None:
        with pytest.raises(ValueError, match="not a wheel"):
            provide(root, FIRST, asked(wheels=[{"name": name, "blob": "a" * 64}]))

    @pytest.mark.parametrize("need", ["-r/etc/passwd", "--index-url=x", "a @ http://x", "../a"])
    def test_a_requirement_is_no_option(self, root: Path, uv: PacedUv, need: str) -> None:
        with pytest.raises(ValueError, match="not a"):
            provide(root, FIRST, asked(dependencies=[need]))

    def test_by_a_real_uv(self, root: Path, tiny: Path, real_uv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(real_uv.parent))
        assert provide(root, FIRST, asked()) == only_place(root).python
        assert "+ tinypack==1.0" in (root / "jobs" / FIRST / "log.txt").read_text()

    def test_it_says_every_few_seconds_how_long_it_takes(
        self, root: Path, uv: PacedUv, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(build, "TELL", 0.0)
        uv.hold()
        with ThreadPoolExecutor(1) as pool:
            building = pool.submit(provide, root, FIRST, asked())
            wait_for(root / "jobs" / FIRST / "events.jsonl", "installing the environment, ")
            uv.go()
            building.result()
        told = messages(root / "jobs" / FIRST)
        assert any(re.fullmatch(r"installing the environment, \d+ s", words) for words in told)

    def test_one_that_lost_its_python_is_built_again(self, root: Path, uv: PacedUv) -> None:
        python = provide(root, FIRST, asked())
        Path(python).unlink()
        assert provide(root, SECOND, asked()) == python
        assert uv.installs == 2

    def test_one_without_its_mark_is_built_again(self, root: Path, uv: PacedUv) -> None:
        provide(root, FIRST, asked())
        place = only_place(root)
        place.mark.unlink()
        (place.folder / "left over").touch()
        provide(root, SECOND, asked())
        assert uv.installs == 2
        assert not (place.folder / "left over").exists()

    def test_the_order_of_dependencies_makes_no_other_environment(self, root: Path, uv: PacedUv) -> None:
        provide(root, FIRST, asked(dependencies=["tinypack==1.0", "tinypack>=1"]))
        provide(root, SECOND, asked(dependencies=["tinypack>=1", "tinypack==1.0"]))
        assert uv.installs == 1
        provide(root, THIRD, asked())
        assert uv.installs == 2


class TestGc:
    DAY = 86400

    def sweep(self, root: Path) -> int:
        return int(blobs.gc(root, {"days": 7, "bytes": 0})["count"])

    def test_one_long_unused_goes_whole(self, root: Path, uv: PacedUv) -> None:
        provide(root, FIRST, asked())
        place, old = only_place(root), time.time() - 8 * self.DAY
        shutil.rmtree(root / "jobs")
        assert self.sweep(root) == 0
        os.utime(place.mark, (old, old))
        assert self.sweep(root) == 1
        assert not place.folder.exists()

    def test_one_in_use_stays(self, root: Path, uv: PacedUv) -> None:
        folder = job(root, FIRST)
        with environment.provided(root, folder, asked()) as python:
            os.utime(only_place(root).mark, (0, 0))
            assert self.sweep(root) == 0
            assert Path(python).exists()
        assert self.sweep(root) == 1

    def test_use_makes_it_young(self, root: Path, uv: PacedUv) -> None:
        provide(root, FIRST, asked())
        os.utime(only_place(root).mark, (0, 0))
        provide(root, SECOND, asked())
        assert self.sweep(root) == 0

    def test_what_a_killed_build_left_goes_too(self, root: Path) -> None:
        left = root / "envs" / "a"
        left.mkdir(parents=True)
        os.utime(left, (0, 0))
        assert self.sweep(root) == 1
        assert not left.exists()
