"""Packages for another machine: found by this one's pip, kept, and left alone when the user wants to stop."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from broker import wheels
from broker.errors import Interrupted, MissingHere
from broker.stop import Stop
from broker.wheels import Wants
from tests.remote_scripts.runner.environments import wheel

WANTS = Wants("3.12.4", "cp312", ("linux_aarch64", "manylinux_2_28_aarch64", "manylinux_2_17_aarch64"))
TOLD = {"implementation": "cp", "python": "3.12.4", "abi": "cp312", "platforms": list(WANTS.platforms)}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with all the packages that pip finds here."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


@pytest.fixture
def no_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip looks for packages at an address where nobody listens."""
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")


@pytest.fixture
def mute_index(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """pip asks an index that takes the connection and says nothing. Set once it was asked."""
    asked, over = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            with server.accept()[0]:
                asked.set()
                over.wait()

        monkeypatch.setenv("PIP_NO_INDEX", "0")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.getsockname()[1]}/")
        monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "60")
        threading.Thread(target=listen, daemon=True).start()
        yield asked
        over.set()


def collect(cache: Path, *dependencies: str, wants: Wants = WANTS, stop: Stop | None = None) -> list[Path]:
    return wheels.collect(dependencies or ("tinypack==1.0",), wants, cache, stop or Stop())


def names(found: list[Path]) -> list[str]:
    return [path.name for path in found]


class TestCollecting:
    def test_all_that_is_needed_and_fits_there_comes(self, index: Path, tmp_path: Path) -> None:
        wheel(index, needs=("tinydep>=2", "tinybin"))
        wheel(index, "tinydep", "1.0")
        wheel(index, "tinydep", "2.1")
        for tag in ("cp312-cp312-manylinux_2_28_aarch64", "cp312-cp312-manylinux_2_28_x86_64"):
            wheel(index, "tinybin", tag=tag)
        found = collect(tmp_path / "cache")
        assert names(found) == [
            "tinybin-1.0-cp312-cp312-manylinux_2_28_aarch64.whl",
            "tinydep-2.1-py3-none-any.whl",
            "tinypack-1.0-py3-none-any.whl",
        ]
        assert found[1].read_bytes() == (index / found[1].name).read_bytes()

    @pytest.mark.parametrize("tag", ["cp311-abi3-manylinux_2_17_aarch64", "py2.py3-none-manylinux_2_28_aarch64"])
    def test_so_do_wheels_for_many_pythons(self, index: Path, tmp_path: Path, tag: str) -> None:
        made = wheel(index, tag=tag)
        assert names(collect(tmp_path / "cache")) == [made.name]

    def test_a_second_time_nothing_is_downloaded(self, index: Path, tmp_path: Path) -> None:
        wheel(index)
        wheel(index, "tinydep")
        first = collect(tmp_path / "cache", "tinypack", "tinydep")
        for path in index.iterdir():
            path.unlink()
        assert collect(tmp_path / "cache", "tinydep", "tinypack") == first
        assert [path for path in first if not path.exists()] == []

    def test_another_interpreter_is_another_request(self, index: Path, tmp_path: Path) -> None:
        wheel(index)
        assert collect(tmp_path / "cache") != collect(tmp_path / "cache", wants=replace(WANTS, python="3.12.5"))

    def test_two_at_once_do_not_harm_each_other(
        self, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wheel(index)
        run = wheels._run

        def slow(command: Sequence[str], log: Path, stop: Stop) -> int:
            with monkeypatch.context() as patch:
                patch.setattr(wheels, "_run", run)
                collect(tmp_path / "cache")  # the other is quicker
            return run(command, log, stop)

        monkeypatch.setattr(wheels, "_run", slow)
        assert names(collect(tmp_path / "cache")) == ["tinypack-1.0-py3-none-any.whl"]
        assert len(list((tmp_path / "cache").iterdir())) == 1

    def test_a_file_of_the_user_s_is_not_taken_for_pip(
        self, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "pip.py").write_text("raise SystemExit('not the pip you want')\n")
        monkeypatch.chdir(tmp_path)
        wheel(index)
        assert names(collect(tmp_path / "cache")) == ["tinypack-1.0-py3-none-any.whl"]

    def test_what_a_killed_process_left_goes(self, index: Path, tmp_path: Path) -> None:
        wheel(index)
        old, young = tmp_path / "cache" / "a.tmp", tmp_path / "cache" / "b.tmp"
        for left in (old, young):
            (left / "wheels").mkdir(parents=True)
        os.utime(old, (0, 0))
        collect(tmp_path / "cache")
        assert (old.exists(), young.exists()) == (False, True)


class TestRefusals:
    def refusal(self, cache: Path, *dependencies: str) -> MissingHere:
        """How it fails; nothing of it is kept."""
        with pytest.raises(MissingHere) as caught:
            collect(cache, *dependencies)
        assert not cache.is_dir() or list(cache.iterdir()) == []
        return caught.value

    def test_no_such_wheel(self, index: Path, tmp_path: Path) -> None:
        wheel(index, tag="cp312-cp312-manylinux_2_34_aarch64")
        (index / "tinypack-1.0.tar.gz").write_bytes(b"a source is of no use: it might need building there")
        error = self.refusal(tmp_path / "cache", "tinypack==1.0", "other>=2")
        assert str(error) == (
            "this machine found no wheels for Python 3.12.4 on linux_aarch64, manylinux_2_28_aarch64: "
            "No matching distribution found for tinypack==1.0"
        )
        assert error.hint == "pip install tinypack==1.0 'other>=2'"

    def test_no_network_here_either(self, no_index: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PIP_RETRIES", "0")  # it would not say then that it could not connect
        error = self.refusal(tmp_path / "cache")
        assert str(error).startswith("this machine cannot download packages either: ")
        assert error.hint.startswith(f"{sys.executable} -m pip download ")
        assert error.hint.endswith(" tinypack==1.0")

    def test_no_pip_here(self, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wheels, "find_spec", lambda name: None)
        error = self.refusal(tmp_path / "cache")
        assert "pip is not installed here" in str(error)
        assert error.hint == f"{sys.executable} -m ensurepip"

    def test_no_room_here(self, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        said = "Collecting a\nERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"
        monkeypatch.setattr(wheels, "_run", lambda command, log, stop: log.write_text(said))
        error = self.refusal(tmp_path / "cache")
        assert str(error) == f"packages cannot be kept in {tmp_path / 'cache'}: No space left on device"
        assert "OFFLOAD_CACHE_DIR" in error.hint

    def test_a_cache_that_is_no_folder(self, index: Path, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert "packages cannot be kept in" in str(self.refusal(tmp_path / "file"))

    def test_a_requirement_is_no_option(self, index: Path, tmp_path: Path) -> None:
        wheel(index)
        (tmp_path / "needs.txt").write_text("tinypack\n")
        self.refusal(tmp_path / "cache", f"--requirement={tmp_path}/needs.txt")


class TestStopping:
    def interrupted(
        self, cache: Path, asked: threading.Event, by: Callable[[], Any], stop: Stop, error: type[BaseException]
    ) -> None:
        """Do `by` once pip is at work: it ends so, and leaves no process and no file."""

        def interrupt() -> None:
            assert asked.wait(120)
            by()

        before = set(psutil.Process().children(recursive=True))
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(error):
            collect(cache, stop=stop)
        assert asked.is_set()
        assert set(psutil.Process().children(recursive=True)) <= before
        assert list(cache.iterdir()) == []

    def test_politely(self, mute_index: threading.Event, tmp_path: Path) -> None:
        stop = Stop()
        self.interrupted(tmp_path / "cache", mute_index, stop.request, stop, Interrupted)

    def test_at_once(self, mute_index: threading.Event, tmp_path: Path) -> None:
        def press() -> None:
            os.kill(os.getpid(), signal.SIGINT)

        self.interrupted(tmp_path / "cache", mute_index, press, Stop(), KeyboardInterrupt)

    def test_at_the_limit(self, mute_index: threading.Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = time.monotonic

        def hurry() -> None:
            monkeypatch.setattr(time, "monotonic", lambda: clock() + 2 * wheels.LIMIT_SECONDS)

        self.interrupted(tmp_path / "cache", mute_index, hurry, Stop(), MissingHere)


class TestWants:
    def test_what_makes_sense_is_read(self) -> None:
        assert wheels.read(TOLD) == WANTS

    @pytest.mark.parametrize(
        "wrong",
        [
            {"python": "3.12"},
            {"python": "3.12.4 --index-url=x"},
            {"python": 3.12},
            {"abi": "../cp312"},
            {"implementation": "pp"},
            {"platforms": []},
            {"platforms": ["any --extra-index-url=http://x"]},
            {"platforms": ["linux_x86_64\n"]},
            {"platforms": ["a"] * 201},
            {"platforms": None},
            {"platforms": [1]},
        ],
    )
    def test_what_makes_none_is_refused(self, wrong: dict[str, Any]) -> None:
        with pytest.raises((ValueError, TypeError)):
            wheels.read({**TOLD, **wrong})

    @pytest.mark.parametrize("lacking", sorted(TOLD))
    def test_what_is_not_told_is_not_guessed(self, lacking: str) -> None:
        with pytest.raises(KeyError):
            wheels.read({name: value for name, value in TOLD.items() if name != lacking})
