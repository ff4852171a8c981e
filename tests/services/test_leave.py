"""The end of a command: quick, and nothing is lost by that."""

from __future__ import annotations

import subprocess
import sys

import pytest

END = """
import atexit, sys, threading, time
from services.base.command import leave
atexit.register(lambda: print("registered"))
{before}
print("said")
print("told", file=sys.stderr)
leave(9)
"""


def left(before: str = "") -> tuple[int, list[str], str]:
    done = subprocess.run([sys.executable, "-c", END.format(before=before)], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines(), done.stderr.strip()


def test_what_was_said_and_what_was_registered_is_done_first() -> None:
    assert left() == (9, ["said", "registered"], "told")


def test_a_thread_that_is_at_work_is_waited_for() -> None:
    slow = "threading.Thread(target=lambda: (time.sleep(0.3), print('worked'))).start()"
    code, out, _ = left(slow)
    assert (code, sorted(out)) == (9, ["registered", "said", "worked"])


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_is_closed_does_not_change_the_code(stream: str) -> None:
    code, _, _ = left(f"atexit.register(sys.{stream}.close)")
    assert code == 9
