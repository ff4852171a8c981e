"""ffmpeg is started so that no name, terminal or sudden death can do harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import psutil
import pytest

from tests import media

from .runs import FFMPEG, SCRIPT, job, stabilize, wrapped_ffmpeg


def recorded(folder: Path) -> Path:
    """An ffmpeg that writes its arguments, one a line, to `arguments` beside it."""
    wrapper = folder / "ffmpeg"
    wrapper.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" -- >> "{folder}/arguments"\nexec "{FFMPEG}" "$@"\n')
    wrapper.chmod(0o755)
    return wrapper


def test_only_fixed_names_reach_the_command_line_and_guards_precede_the_input(tmp_path: Path) -> None:
    clip = media.clip(tmp_path / "clip.mp4").rename(tmp_path / "clip'; echo HARM; '.mp4")
    run = stabilize(tmp_path / "job", clip, env={"IMAGEIO_FFMPEG_EXE": str(recorded(tmp_path))})
    assert run.done()
    calls = (tmp_path / "arguments").read_text().split("--\n")
    passes = [call.splitlines() for call in calls if "-i" in call.splitlines()]
    assert len(passes) == 2
    for words in passes:
        assert words.count("-i") == 1
        assert words[words.index("-i") + 1] == "file:input"
        for guard in ("-protocol_whitelist", "-format_whitelist", "-max_pixels"):
            assert words.index(guard) < words.index("-i")
        assert words[words.index("-protocol_whitelist") + 1] == "file"
        assert "-nostdin" in words
        assert not any("clip" in word or str(tmp_path) in word for word in words)


def passes(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The running ffmpeg of a script, once it has read its input's name."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if "file:input" in child.cmdline()]
    except psutil.Error:
        return []


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends the child with its parent on Linux only")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_ffmpeg_does_not_outlive_a_killed_script(number: signal.Signals, tmp_path: Path) -> None:
    slow = wrapped_ffmpeg(tmp_path, "-readrate 0.01")
    folder = job(tmp_path / "job", media.clip(tmp_path / "clip.mp4", 4))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "job.json"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env={**os.environ, "IMAGEIO_FFMPEG_EXE": str(slow)},
        )
    try:
        # Only once it is well under way does ffmpeg shrug off the broken pipes of a dead parent.
        started = wait_for(lambda: b"Output #0" in (tmp_path / "log").read_bytes() and passes(process))
        process.send_signal(number)
        process.wait()
        _, alive = psutil.wait_procs(started, timeout=60)
        assert not alive
    finally:
        process.kill()
        process.wait()
    assert not list((folder / "out/0").iterdir())


def wait_for(found: Callable[[], list[psutil.Process] | Literal[False]]) -> list[psutil.Process]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.02)
    raise AssertionError("it did not happen in 120 s")


def test_a_terminal_is_never_read(tmp_path: Path) -> None:
    """A `q` waiting on the script's own input would end ffmpeg early, with exit 0."""
    folder = job(tmp_path / "job", media.clip(tmp_path / "clip.mp4"))
    done = subprocess.run([sys.executable, str(SCRIPT), "job.json"], cwd=folder, input=b"q" * 100, capture_output=True)
    assert b'"frames":25' in done.stdout


def test_the_log_tells_of_ffmpeg_without_drowning_in_it(tmp_path: Path) -> None:
    run = stabilize(tmp_path / "job", media.clip(tmp_path / "clip.mp4", 4))
    assert "libx264" in run.log
    assert "residual" not in run.log
    assert max(map(len, run.log.splitlines())) <= 500


def test_why_ffmpeg_failed_is_said(tmp_path: Path) -> None:
    wrapper = tmp_path / "ffmpeg"
    wrapper.write_text(f'#!/bin/sh\n[ "$1" = -version ] && exec "{FFMPEG}" -version\nexec "{FFMPEG}" -bogus 1 "$@"\n')
    wrapper.chmod(0o755)
    clip = media.clip(tmp_path / "clip.mp4")
    kind, error = stabilize(tmp_path / "job", clip, env={"IMAGEIO_FFMPEG_EXE": str(wrapper)}).failure()
    assert kind == "failed"
    assert "bogus" in error


def test_the_same_environment_reaches_ffmpeg_but_for_its_threads(tmp_path: Path) -> None:
    wrapper = tmp_path / "ffmpeg"
    wrapper.write_text(f'#!/bin/sh\nenv >> "{tmp_path}/environment"\nexec "{FFMPEG}" "$@"\n')
    wrapper.chmod(0o755)
    clip = media.clip(tmp_path / "clip.mp4")
    stabilize(tmp_path / "job", clip, env={"IMAGEIO_FFMPEG_EXE": str(wrapper), "OMP_NUM_THREADS": "7"})
    lines = (tmp_path / "environment").read_text().splitlines()
    assert lines.count("OMP_NUM_THREADS=1") == 2
    assert f"HOME={os.environ['HOME']}" in lines
