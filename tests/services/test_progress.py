"""Progress: a bar on a terminal, a line now and then elsewhere, nothing with -q, and never a raw control character."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from broker.events import ItemFailed, Note, Progress, Published, Started
from services.base import progress
from tests.services.typed import FAKEWORK, QUICK, Word, environment

ERASE = "\x1b[2K"
PERCENT = r"\d+%, 1x"
COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|38;[0-9;]+)m")


def on_terminal(
    cwd: Path, *words: Word, env: Mapping[str, str] | None = None, both: bool = False, until: Sequence[str] = ()
) -> tuple[int, str, bytes]:
    """Type the fake work on a terminal: its exit code, what the terminal got, and what stdout got if that is apart.

    Each item waits half-way until the terminal got what fits its pattern of `until`.
    """
    hold = cwd.with_name("hold")
    hold.mkdir()
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    command = subprocess.Popen(
        [*FAKEWORK, *QUICK, *(("--hold", hold) if until else ()), *words],
        cwd=cwd,
        env=environment({"TERM": "xterm-256color", **(env or {})}),
        stdin=theirs,
        stdout=theirs if both else subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # a terminal that nobody holds any more
        while part := os.read(ours, 65536):
            seen += part
            for item, pattern in enumerate(until):
                if re.search(pattern, seen.decode(errors="ignore")):
                    (hold / str(item)).touch()
    out = command.stdout.read() if command.stdout else b""
    if command.stdout:
        command.stdout.close()
    os.close(ours)
    assert all(re.search(pattern, seen.decode()) for pattern in until), seen
    return command.wait(), seen.decode(), out


def test_a_terminal_gets_a_bar_that_goes_away(here: Path, data: Path) -> None:
    code, seen, out = on_terminal(here, "a.dat", until=[PERCENT])
    assert code == 0
    assert "\u2501" in seen
    assert COLOUR.search(seen)
    assert seen.rindex(ERASE) > seen.rindex("\u2501")
    assert seen.rstrip().endswith(("\x1b[?25h", ERASE))
    assert out == os.fsencode(here / "a.worked.bin") + b"\n"
    assert "a.dat -> a.worked.bin" in seen


def test_a_bar_of_several_inputs_counts_them(here: Path, data: Path) -> None:
    (here / "b.dat").write_bytes(b"more")
    code, _, _ = on_terminal(here, "a.dat", "b.dat", until=[r"\[1/2\] a\.dat .*%", r"\[2/2\] b\.dat .*%"])
    assert code == 0


def test_no_color_is_respected(here: Path, data: Path) -> None:
    _, seen, _ = on_terminal(here, "a.dat", env={"NO_COLOR": "1"}, until=[PERCENT])
    assert "\u2501" in seen
    assert not COLOUR.search(seen)


@pytest.mark.parametrize("env", [{"CI": "true"}, {"TERM": "dumb"}])
def test_no_bar_where_it_would_not_be_drawn(here: Path, data: Path, env: dict[str, str]) -> None:
    _, seen, _ = on_terminal(here, "a.dat", env=env)
    assert "\x1b" not in seen
    assert "a.dat -> a.worked.bin" in seen


def test_quiet_leaves_the_terminal_alone(here: Path, data: Path) -> None:
    code, seen, _ = on_terminal(here, "a.dat", "-q")
    assert (code, seen) == (0, "")


@pytest.mark.parametrize("words", [(), ("-q",)])
def test_no_name_and_no_message_drives_the_terminal(here: Path, words: tuple[str, ...]) -> None:
    name = "evil\x1b[2J\x1b]0;title\x07\r:smile:[bold].dat"
    (here / name).write_bytes(b"work")
    code, seen, _ = on_terminal(here, name, "--trouble", "log", "--noise", *words, both=True)
    assert code == 0
    assert "\x1b[2J" not in seen
    assert "\x1b]0;" not in seen
    assert "\x07" not in seen
    assert "evil\\x1b[2J\\x1b]0;title\\x07\\r:smile:[bold].worked.bin" in seen


def test_a_name_is_no_markup(here: Path) -> None:
    (here / ":smile:[bold]x.dat").write_bytes(b"work")
    _, seen, _ = on_terminal(here, ":smile:[bold]x.dat", until=[PERCENT])
    assert ":smile:[bold]x.dat -> :smile:[bold]x.worked.bin" in seen
    assert ":smile:[bold]x.dat \x1b" in seen  # before the bar


def test_a_long_name_leaves_room_for_the_bar(here: Path) -> None:
    name = "n" * 200 + ".dat"
    (here / name).write_bytes(b"work")
    _, seen, _ = on_terminal(here, name, until=[PERCENT])
    drawn = [line for line in re.split(r"[\r\n]|\x1b\[[0-9;?]*[A-Za-z]", seen) if "\u2026" in line]
    assert drawn


# Lines, by a clock of the test's own


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, as the display sees it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_tell_progress_every_five_seconds(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Lines(["a.mp4"], lambda measured: "") as lines:
        lines.show(Started("local", "it is here"))
        for second in range(1, 16):
            clock[0] = 100.0 + second
            lines.show(Progress(0, second / 20, 2.0, 20.0 - second))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "running on local: it is here",
        "a.mp4: 25%, 2x, 0:15 left",
        "a.mp4: 50%, 2x, 0:10 left",
        "a.mp4: 75%, 2x, 0:05 left",
    ]


def test_quiet_tells_failures_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.Quiet(["a.mp4"], lambda measured: "") as quiet:
        for event in (
            Started("local", "it is here"),
            Progress(0, 0.5, 1.0, 1.0),
            Note("look"),
            ItemFailed(0, "bad_input", "it is \x1b[31mred"),
            Published(0, (), {}),
        ):
            quiet.show(event)
    assert capsys.readouterr().err == "a.mp4: it is \\x1b[31mred\n"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.0, "0%"), (9.4, "0%, 0:09 left"), (75, "0%, 1:15 left"), (7325, "0%, 2:02:05 left")]
)
def test_the_time_left_is_a_clock(seconds: float, said: str) -> None:
    assert progress.describe(Progress(0, 0.0, 0.0, seconds)) == said
