"""What is costly is taken from an interpreter that is there and has it; the rest is the environment's own."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from _runner import environment, interpreters, state, taking
from _runner.layout import RunnerError

from broker import scripts
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
    wheel,
)
from tests.remote_scripts.runner.job import FOLDER, JOB, wait_for_end
from tests.remote_scripts.runner.there import RANGE, TORCH, There, seen


@pytest.fixture(autouse=True)
def ours_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter of the tests, which comes first, has a torch of its own: it is not to be found."""
    version = interpreters._version
    monkeypatch.setattr(interpreters, "_version", lambda name: None if name == "torch" else version(name))


@pytest.fixture
def there(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> There:
    """An interpreter on the path, with nothing in it. It is built on by venv and pip; all wheels lie beside `tiny`."""
    found = There(tmp_path / "there")
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(found.bin))
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "empty").as_uri())
    return found


@pytest.fixture(scope="session")
def any_uv(request: pytest.FixtureRequest) -> Path | None:
    """A real uv, if it can be had. Asked for before a test takes the index away."""
    try:
        return Path(request.getfixturevalue("real_uv"))
    except pytest.skip.Exception:
        return None


@pytest.fixture(params=["pip", "uv"])
def tool(request: pytest.FixtureRequest, any_uv: Path | None, there: There) -> str:
    """Who installs."""
    if request.param == "uv":
        if any_uv is None:
            pytest.skip("uv cannot be installed here")
        (there.bin / "uv").symlink_to(any_uv)
    return str(request.param)


@pytest.fixture
def paced(there: There, uv: PacedUv, monkeypatch: pytest.MonkeyPatch) -> PacedUv:
    """A uv whose pace the test sets, and that installs the tiny package whatever it is asked for."""
    monkeypatch.setenv("PATH", f"{uv.folder / 'bin'}:{there.bin}")
    return uv


def wanted(*more: str, **fields: Any) -> dict[str, Any]:
    """What a script asks for that needs torch and the tiny package."""
    return asked(dependencies=[RANGE, "tinypack==1.0", *more], take=["torch"], **fields)


def provide(root: Path, name: str, environs: dict[str, Any]) -> str:
    """The interpreter that the job `name` gets."""
    with environment.provided(root, job(root, name), environs) as python:
        return str(python)


def told(root: Path, name: str) -> dict[str, Any]:
    """What the job told of its versions."""
    (event,) = events(root / "jobs" / name, "versions")
    return dict(event["versions"])


def places(root: Path) -> list[Path]:
    return [entry for entry in (root / "envs").iterdir() if entry.is_dir()]


class TestTaking:
    def test_what_will_do_is_taken_with_what_it_needs_and_goes_with_the_rest(
        self, root: Path, there: There, tool: str, tiny: Path
    ) -> None:
        there.install_torch(TORCH, "dep>=1", "old", "lost", "pinned", 'optional; extra == "all"', "no; os_name == 'x'")
        for name in ("dep", "old", "lost", "pinned", "optional", "stray"):
            there.install(name, "1.0")
        (there.site / "lost-1.0.dist-info/RECORD").unlink()  # as some systems' packages
        wheel(tiny.parent, "user", "1.0", needs=("torch>=2", "old>=2"))
        for name in ("old", "lost"):
            wheel(tiny.parent, name, "2.0")
        wheel(tiny.parent, "pinned", "1.0")
        before = there.everything()
        python = provide(root, FIRST, wanted("user==1.0", "pinned==1.0"))
        (place,) = places(root)
        assert python == str(place / "venv/bin/python")
        torch, dep, optional, stray = seen(python, "torch", "dep", "optional", "stray")
        assert torch == (TORCH, str(place / "taken/torch/__init__.py"))
        assert dep == ("1.0", str(place / "taken/dep.py"))
        assert optional == stray == (None, None), "nothing else is seen"
        own = seen(python, "tinypack", "user", "pinned", "old", "lost")
        assert [version for version, _ in own] == ["1.0", "1.0", "1.0", "2.0", "2.0"]
        assert all(Path(file or "").is_relative_to(place / "venv") for _, file in own)
        assert messages(root / "jobs" / FIRST)[0] == (
            f"installing the environment, with torch {TORCH} that is there already"
        )
        assert there.everything() == before, "nothing was written there"
        shutil.rmtree(place)
        assert there.everything() == before, "nor deleted with the environment"

    def test_it_is_told(self, root: Path, there: There, paced: PacedUv) -> None:
        there.install_torch()
        provide(root, FIRST, wanted())
        known = told(root, FIRST)
        assert (known["torch"], known["torch_from"], known["torch_cuda"]) == (TORCH, "target", "12.1")
        provide(root, SECOND, wanted())
        assert told(root, SECOND) == known
        assert paced.installs == 1

    @pytest.mark.parametrize("version", ["1.13.1", "3.0"])
    def test_out_of_range_it_is_installed_as_ever(
        self, root: Path, there: There, any_uv: Path | None, tiny: Path, version: str
    ) -> None:
        if any_uv:  # quicker; it matters not who
            (there.bin / "uv").symlink_to(any_uv)
        there.install_torch(version)
        wheel(tiny.parent, "torch", "2.9.0")
        python = provide(root, FIRST, wanted())
        (place,) = places(root)
        ((installed, file),) = seen(python, "torch")
        assert installed == "2.9.0"
        assert Path(file or "").is_relative_to(place / "venv")
        assert not (place / "taken").exists()
        assert told(root, FIRST)["torch_from"] == "environment"
        asked_plainly = asked(dependencies=[RANGE, "tinypack==1.0"])
        assert environment._place(root, asked_plainly).folder == place, "the same one as if nothing could be taken"

    def test_the_tools_of_a_new_environment_stay(self, there: There, tmp_path: Path) -> None:
        there.install_torch(TORCH, "pip")
        there.install("pip", "1.0")
        tool = tmp_path / "venv/lib/python3/site-packages/pip-23.0.dist-info"
        tool.mkdir(parents=True)
        found = taking.find(wanted())
        assert found is not None
        taking.announce(found, tmp_path / "venv")
        assert {entry.name for entry in tool.parent.iterdir()} == {tool.name, f"torch-{TORCH}.dist-info"}
        assert taking.kept(found, tmp_path / "venv") == {"torch": TORCH}

    def test_names_have_many_spellings(self, root: Path, there: There, paced: PacedUv) -> None:
        there.install("Tiny_Dep", "1.0", files={"tiny_dep.py": ""})
        needs = asked(dependencies=["tiny.dep>=1", "tinypack==1.0"], take=["TINY-dep"])
        assert seen(provide(root, FIRST, needs), "tiny_dep")[0][0] == "1.0"

    def test_of_a_package_in_pieces_only_what_was_taken_is_seen(self, root: Path, there: There, paced: PacedUv) -> None:
        there.install_torch(TORCH, "nvidia-a==1", "nvidia-b==1")
        for name in "abc":
            there.install(f"nvidia_{name}", "1", files={"nvidia/__init__.py": "", f"nvidia/{name}.py": ""})
        found = seen(provide(root, FIRST, wanted()), "nvidia.a", "nvidia.b", "nvidia.c")
        assert [file is not None for _, file in found] == [True, True, False]


class TestChoosing:
    def test_the_runner_s_own_interpreter_comes_first(self, root: Path, there: There, tmp_path: Path) -> None:
        there.install_torch()
        own = There(tmp_path / "own")
        own.install_torch("2.6.0")
        request = json.dumps({"environment": wanted()}).encode()
        runner = [own.python, root / "scripts/v1/runner.py", "prepare"]
        done = subprocess.run(runner, input=request, capture_output=True, check=True)
        assert json.loads(done.stdout) == {"v": 1, "python": str(own.python), "ready": False}
        own.install_torch("1.0.0")
        shutil.rmtree(own.site / "torch-2.6.0.dist-info")
        done = subprocess.run(runner, input=request, capture_output=True, check=True)
        assert json.loads(done.stdout)["python"] == str(there.python)

    def test_one_interpreter_by_two_names_is_one(self, there: There, root: Path) -> None:
        there.install_torch()
        first = environment._place(root, wanted())
        assert first.taken is not None
        assert first.taken.python.path == str(there.python)
        alias = there.bin / "python3.8"  # looked for before
        alias.symlink_to(there.python.name)
        second = environment._place(root, wanted())
        assert second.taken is not None
        assert second.taken.python.path == str(alias)
        assert second.folder == first.folder

    @pytest.mark.parametrize(
        "fields", [{"take": []}, {"take": ["other"]}, {"take": None}, {"requires_python": ">=3.99"}], ids=str
    )
    def test_nothing_is_taken_that_is_not_named_or_not_for_this_python(
        self, there: There, fields: dict[str, Any]
    ) -> None:
        there.install_torch()
        assert taking.find({**wanted(), **fields}) is None

    def test_nor_from_a_python_that_nothing_can_be_built_on(
        self, there: There, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there.install_torch()
        assert taking.find(wanted()) is not None
        bare = [interpreters.at(str(there.python), ["torch", "tinypack"])._replace(modules=[])]  # type: ignore[union-attr]
        monkeypatch.setattr(interpreters, "others", lambda names: bare)
        assert taking.find(wanted()) is None

    @pytest.mark.parametrize("without", ["RECORD", "METADATA"])
    def test_nor_without_a_list_of_its_files(self, there: There, without: str) -> None:
        there.install_torch()
        (there.site / f"torch-{TORCH}.dist-info" / without).unlink()
        assert taking.find(wanted()) is None

    def test_what_is_fixed_is_what_was_chosen_and_what_that_pins(self, there: There) -> None:
        there.install_torch(TORCH, "cuda==12.1; platform_system == 'Linux'", "dep>=1", "wild==1.*")
        there.install("cuda", "12.1", "blas (==3)", "torch")
        for name, version in {"dep": "1.0", "wild": "1.1", "blas": "3"}.items():
            there.install(name, version)
        found = taking.find(wanted())
        assert found is not None
        assert found.fixed == {"blas": "3", "cuda": "12.1", "torch": TORCH}
        assert {one.name for one in found.distributions} == {"blas", "cuda", "dep", "torch", "wild"}


class TestTrouble:
    def test_one_that_does_not_go_with_the_rest_is_not_taken(
        self, root: Path, there: There, tool: str, tiny: Path
    ) -> None:
        there.install_torch()
        wheel(tiny.parent, "torch", "2.9.0")
        wheel(tiny.parent, "newer", "1.0", needs=("torch>=2.9",))
        before = there.everything()
        python = provide(root, FIRST, wanted("newer==1.0"))
        assert seen(python, "torch")[0][0] == "2.9.0"
        assert there.everything() == before
        assert any(words.startswith("that does not go with the rest: ") for words in messages(root / "jobs" / FIRST))
        assert told(root, FIRST)["torch_from"] == "environment"
        assert provide(root, SECOND, wanted("newer==1.0")) == python
        assert messages(root / "jobs" / FIRST)[0] not in (root / "jobs" / SECOND / "events.jsonl").read_text()

    @pytest.mark.parametrize("torch", ["raise OSError('libcudart.so: no such file')", "import nowhere"])
    def test_one_that_cannot_be_imported_is_not_taken(
        self, root: Path, there: There, paced: PacedUv, torch: str
    ) -> None:
        there.install("torch", TORCH, files={"torch/__init__.py": torch})
        with pytest.raises(RunnerError, match="not what was asked for"):  # this uv has no other to install
            provide(root, FIRST, wanted())
        assert paced.installs == 2
        assert "does not go with the rest" in messages(root / "jobs" / FIRST)[1]
        assert places(root) == []

    def test_one_that_changes_meanwhile_is_not_taken(
        self, root: Path, there: There, paced: PacedUv, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there.install_torch()
        found = taking.find(wanted())
        monkeypatch.setattr(taking, "find", lambda environs: found)
        shutil.rmtree(there.site / f"torch-{TORCH}.dist-info")
        with pytest.raises(RunnerError):
            provide(root, FIRST, wanted())
        assert "torch was changed while it was being taken" in messages(root / "jobs" / FIRST)[1]
        there.install("torch", TORCH, files={"torch/__init__.py": "", "torch/more.py": ""})
        with pytest.raises(RunnerError):
            provide(root, SECOND, wanted())
        assert "torch was changed while it was being taken" in messages(root / "jobs" / SECOND)[1]

    def test_another_torch_there_makes_another_environment(self, root: Path, there: There, paced: PacedUv) -> None:
        there.install_torch()
        old = provide(root, FIRST, wanted())
        shutil.rmtree(there.site / f"torch-{TORCH}.dist-info")
        there.install_torch("2.6.0")
        new = provide(root, SECOND, wanted())
        assert new != old
        assert seen(new, "torch")[0][0] == "2.6.0"
        there.install("torch", "2.6.0", files={"torch/__init__.py": "", "torch/more.py": ""})
        assert provide(root, THIRD, wanted()) not in (old, new), "the same version, made anew"

    def test_so_does_the_same_one_elsewhere(self, root: Path, there: There, paced: PacedUv, tmp_path: Path) -> None:
        # Two machines may share a home.
        there.install_torch()
        first = provide(root, FIRST, wanted())
        there.python.parent.parent.rename(tmp_path / "moved")
        shutil.rmtree(tmp_path / "moved")
        again = There(tmp_path / "elsewhere")
        again.install_torch()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", f"{paced.folder / 'bin'}:{again.bin}")
            second = provide(root, SECOND, wanted())
        assert second != first
        assert seen(second, "torch")[0][1] is not None

    def test_two_jobs_build_it_once(self, root: Path, there: There, paced: PacedUv) -> None:
        there.install_torch()
        paced.hold()
        first = start(root, JOB, wanted())
        paced.waits()
        second = start(root, JOB + "2", wanted())
        wait_for(second / "events.jsonl", "waiting for it")
        paced.go()
        for folder in (first, second):
            wait_for_end(folder)
            assert (state.last_word(folder) or {}).get("exit") == 0, (folder / "log.txt").read_text()
        assert paced.installs == 1
        assert events(first, "versions") == events(second, "versions")


class TestOffline:
    def test_the_rest_is_asked_for_and_is_enough(
        self, root: Path, there: There, tool: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there.install_torch(TORCH, "cuda==12.1", "dep>=1")
        there.install("cuda", "12.1")
        there.install("dep", "1.0")
        for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "UV_DEFAULT_INDEX", "UV_FIND_LINKS"):
            monkeypatch.delenv(name)
        nobody = "http://127.0.0.1:9/"
        for name, value in {"PIP_INDEX_URL": nobody, "UV_INDEX_URL": nobody, "UV_HTTP_RETRIES": "0"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        with pytest.raises(RunnerError) as caught:
            provide(root, FIRST, wanted())
        assert caught.value.kind == "offline"
        (event,) = events(root / "jobs" / FIRST, "wants")
        assert event["wheels"]["taken"] == {"cuda": "12.1", "torch": TORCH}
        sent = [{"name": tiny.name, "blob": blob(root, tiny)}]
        assert seen(provide(root, SECOND, wanted(wheels=sent)), "torch")[0][0] == TORCH


@pytest.mark.parametrize(("line", "take"), [('# take-from-target = ["torch"]\n', ["torch"]), ("", [])])
def test_a_script_s_header_names_what_may_be_taken(tmp_path: Path, line: str, take: list[str]) -> None:
    script = tmp_path / "own.py"
    script.write_text(f'# /// script\n# dependencies = ["{RANGE}"]\n#\n# [tool.offload]\n{line}# ///\n')
    assert scripts.environment(script, ())["take"] == take


def test_what_tells_of_distributions_runs_alone(there: There) -> None:
    there.install_torch()
    program = [str(there.python), str(FOLDER / "_runner/distributions.py"), '[["torch"], []]']
    (found,) = json.loads(subprocess.run(program, capture_output=True, check=True, cwd="/").stdout)
    assert (found["name"], found["version"], found["site"]) == ("torch", TORCH, str(there.site))
