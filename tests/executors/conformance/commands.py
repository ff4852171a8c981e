"""Commands: what goes in arrives, what comes out is told apart, and what does not end is ended."""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from secrets import token_hex

import pytest

from executors.base import REPLY_BYTES, ExecutorError, Lost, NoSuchFile, TransferFailed
from tests.executors.conformance.suite import Suite
from tests.executors.target import Target
from tests.offload.background import until

ARGUMENTS = ["", " ", "a b", "$HOME", "`id`", "'", '"', "\\", "a\nb", "*", ";", "--", "-x", "é\U0001f600", "%s", "~"]

FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
os.makedirs(os.path.dirname(sys.argv[1]), exist_ok=True)
with open(sys.argv[1] + ".tmp", "w") as file:
    file.write("%d %d" % (os.getpid(), child.pid))
os.replace(sys.argv[1] + ".tmp", sys.argv[1])
time.sleep(600)
"""

MEET = """
import os, sys, time
folder, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.makedirs(folder, exist_ok=True)
open(os.path.join(folder, name), "w").close()
while len(os.listdir(folder)) < count:
    time.sleep(0.02)
print(name)
"""


class Commands(Suite):
    """`run`, `python` and `probe`."""

    @pytest.mark.parametrize("status", [0, 1, 7, 255])
    def test_exit_status(self, target: Target, status: int) -> None:
        assert target.python(f"import sys; sys.exit({status})").status == status

    def test_a_missing_program_is_127(self, target: Target) -> None:
        done = target.executor.run(["no-such-program-here"])
        assert done.status == 127
        assert b"no-such-program-here" in done.stderr

    def test_a_command_killed_by_a_signal_did_not_succeed(self, target: Target) -> None:
        assert target.python("import os; os.kill(os.getpid(), 9)").status != 0

    def test_stdin_arrives_whole_and_untouched(self, target: Target) -> None:
        data = bytes(range(256)) * 4096
        done = target.python(
            "import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())", stdin=data
        )
        assert done.stdout.strip().decode() == hashlib.sha256(data).hexdigest()

    def test_without_stdin_a_command_reads_its_end(self, target: Target) -> None:
        assert target.python("import sys; print(len(sys.stdin.buffer.read()))").stdout.strip() == b"0"

    def test_stdin_that_nobody_reads_is_no_error(self, target: Target) -> None:
        assert target.python("print(1)", stdin=bytes(2**20)).stdout.strip() == b"1"

    def test_stdout_and_stderr_are_told_apart_and_untouched(self, target: Target) -> None:
        data = bytes(range(256)) + b"\r\n\n"
        code = f"import os; os.write(1, bytes.fromhex('{data.hex()}')); os.write(2, b'oops\\n')"
        done = target.python(code)
        assert (done.stdout, done.stderr) == (data, b"oops\n")

    def test_arguments_arrive_as_they_are(self, target: Target) -> None:
        code = "import os, sys; print([os.fsencode(word).hex() for word in sys.argv[1:]])"
        found = json.loads(target.python(code, *ARGUMENTS).stdout.replace(b"'", b'"'))
        assert [bytes.fromhex(word).decode() for word in found] == ARGUMENTS

    def test_commands_run_in_the_root(self, target: Target) -> None:
        path = f"files/{token_hex(4)}"
        target.put(b"here", path)
        assert target.eval("open(sys.argv[1]).read()", path) == "here"

    @pytest.mark.parametrize("size", [REPLY_BYTES + 1, 2**20])
    def test_a_reply_over_the_limit_is_refused(self, target: Target, size: int) -> None:
        with pytest.raises(TransferFailed):
            target.python(f"import os, sys; sys.stdout.buffer.write(bytes({size}))")

    def test_a_reply_of_just_the_limit_arrives(self, target: Target) -> None:
        data = os.urandom(REPLY_BYTES // 2)
        code = "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read() * 2)"
        assert target.python(code, stdin=data).stdout == data * 2

    def test_long_complaints_do_not_hide_the_status(self, target: Target) -> None:
        done = target.python("import sys; sys.stderr.write('x' * 200_000 + 'the end'); sys.exit(4)")
        assert done.status == 4
        assert len(done.stderr) <= REPLY_BYTES
        assert done.stderr.endswith(b"the end")

    def test_a_command_that_outlasts_its_time_is_ended_with_its_children(self, target: Target) -> None:
        family, timeout = list[int](), self.short_timeout
        while not family:
            note = f"files/{token_hex(4)}"
            with pytest.raises(Lost):
                target.python(FAMILY, note, timeout=timeout)
            with suppress(NoSuchFile):
                family = [int(pid) for pid in target.get(note).split()]
            timeout *= 2  # a busy machine may not even have begun by then
        assert len(family) == 2
        until(lambda: target.alive(family) == [], "its end")

    def test_commands_run_at_the_same_time(self, target: Target) -> None:
        folder = f"files/{token_hex(4)}"
        with ThreadPoolExecutor(4) as pool:  # each waits for the others: one at a time would never end
            done = list(pool.map(lambda n: target.python(MEET, folder, n, 4), "abcd"))
        assert [each.stdout.strip() for each in done] == [b"a", b"b", b"c", b"d"]

    def test_the_executor_can_be_left_and_entered_again(self, target: Target) -> None:
        path = f"files/{token_hex(4)}"
        target.put(b"kept", path)
        target.executor.__exit__(None, None, None)
        target.executor.__enter__()
        assert target.get(path) == b"kept"
        assert target.python("print(1)").stdout.strip() == b"1"

    def test_a_probe_finds_the_target(self, target: Target) -> None:
        probe = target.executor.probe(60.0)
        assert probe.reachable, probe.reason

    def test_a_probe_changes_nothing(self, target: Target) -> None:
        before = target.eval("sorted(os.listdir('.'))")
        target.executor.probe(60.0)
        assert target.eval("sorted(os.listdir('.'))") == before

    def test_an_unreachable_target_is_an_answer_to_a_probe_and_in_time(self) -> None:
        started = time.monotonic()
        probe = self.unreachable().probe(1.0)
        assert not probe.reachable
        assert probe.reason
        assert time.monotonic() - started < 60.0  # far more than a busy machine takes

    def test_an_unreachable_target_cannot_be_entered(self) -> None:
        with pytest.raises(ExecutorError):
            self.unreachable().__enter__()
