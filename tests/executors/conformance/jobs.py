"""Jobs: what a script gets, what it may leave, and that one job is one run."""

from __future__ import annotations

import hashlib
import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.executors.conformance.suite import Suite
from tests.executors.target import ANY_PYTHON, Target

HOSTILE_JOBS = ["", "..", "../x", "a", "abc/../def", "ABCD", "abcd\n", "-rf0", ".hid", "a" * 65, None, 7, ["abcd"]]
HOSTILE_SCRIPTS = ["", "x.py", "/etc/x.py", "../conformance/x.py", "a/../x.py", "a/b/x.py", "a/x.sh", "a/.x.py", None]
HOSTILE_SUFFIXES = ["/../../x", ".mp4/", "x", ".", ".MP4 ", ".a\n", "..", ".a.b", None]


class Jobs(Suite):
    """`start`, `ack`, `ls`, `prepare` and `facts`."""

    def test_a_script_runs_and_leaves_its_outputs(self, target: Target) -> None:
        job = target.start(["write", "out/0/result", 65536], ["event", {"type": "log", "message": "done"}])
        events, last = target.follow(job)
        assert events == [{"type": "log", "message": "done"}]
        assert (last["state"], last["ending"]["exit"], last["ending"]["cancelled"]) == ("ended", 0, False)
        assert target.get(f"jobs/{job}/out/0/result") == bytes(65536)

    def test_an_input_sent_as_a_blob_lies_where_the_script_looks(self, target: Target) -> None:
        data = os.urandom(1000)
        inputs = [{"index": 0, "suffix": ".mp4", "blob": target.send(data)}]
        events, _ = target.finish(["digest", "in/0.mp4"], inputs=inputs)
        assert events[0]["message"] == hashlib.sha256(data).hexdigest()

    def test_an_input_named_by_its_path_is_read_in_place(self, target: Target) -> None:
        data = os.urandom(1000)
        events, _ = target.finish(["digest", "in/3"], inputs=[self.in_place(target, data, index=3, suffix="")])
        assert events[0]["message"] == hashlib.sha256(data).hexdigest()

    @pytest.mark.parametrize("change", [{"size": 999}, {"mtime_ns": 1}, {"path": "/no/such/file"}])
    def test_an_input_that_has_changed_is_refused(self, target: Target, change: dict[str, Any]) -> None:
        entry = self.in_place(target, os.urandom(1000), index=0, suffix="") | change
        request = target.request(["listing"], inputs=[entry])
        assert target.refusal("start", **request)[0] == "changed"
        assert target.refusal("events", job=request["job"], since=0, wait=0)[0] == "no_job"

    def test_an_input_that_is_no_longer_here_has_to_be_sent_again(self, target: Target) -> None:
        inputs = [{"index": 0, "suffix": "", "blob": "0" * 64}]
        assert target.refusal("start", **target.request(["listing"], inputs=inputs))[0] == "integrity"

    def test_a_job_sees_its_own_files_alone_and_nobody_else_sees_them(self, target: Target) -> None:
        first = target.start(["write", "out/0/mine", 1], ["await", "go"])
        second = target.start(["write", "out/0/other", 1], ["listing"])
        events, _ = target.follow(second)
        target.put(b"", f"jobs/{first}/go")
        assert "out/0/other" in events[0]["files"]
        assert not [name for name in events[0]["files"] if "mine" in name or first in name]
        modes = "[oct(stat.S_IMODE(os.stat(path).st_mode)) for path in sys.argv[1:]]"
        assert target.eval(modes, f"jobs/{first}", f"jobs/{second}") == ["0o700", "0o700"]
        target.follow(first)

    def test_a_job_started_twice_runs_once(self, target: Target) -> None:
        request = target.request(["await", "go"])
        assert target.call("start", **request)["state"] == "running"
        assert target.call("start", **request)["state"] == "running"
        target.put(b"", f"jobs/{request['job']}/go")
        target.follow(request["job"])
        assert target.call("start", **request)["state"] == "ended"
        assert self.runs(target, request["job"]) == 1

    def test_a_job_started_by_many_at_once_runs_once(self, target: Target) -> None:
        request = target.request(["listing"])
        with ThreadPoolExecutor(6) as pool:
            states = list(pool.map(lambda _: target.call("start", **request)["state"], range(6)))
        assert set(states) <= {"running", "ended"}
        target.follow(request["job"])
        assert self.runs(target, request["job"]) == 1

    def test_a_job_that_is_looked_at_while_it_is_started_is_started(self, target: Target) -> None:
        requests = [target.request(["listing"]) for _ in range(4)]
        with ThreadPoolExecutor(2) as pool:
            looks = [pool.submit(target.call, "ls") for _ in range(6)]
            for request in requests:
                assert target.call("start", **request)["state"] in ("running", "ended")
            assert all(look.result()["v"] == 1 for look in looks)
        assert [target.follow(request["job"])[1]["ending"]["exit"] for request in requests] == [0] * 4

    def test_a_failing_script_tells_its_status_and_its_last_words(self, target: Target) -> None:
        job = target.start(["event", {"type": "log", "message": "so far"}], ["exit", 3])
        events, last = target.follow(job)
        assert (events[0]["message"], last["ending"]["exit"]) == ("so far", 3)
        job = target.start(["no such step"])
        assert target.follow(job)[1]["ending"]["exit"] == 1
        assert b"KeyError" in target.get(f"jobs/{job}/log.txt")

    def test_a_killed_script_tells_its_signal(self, target: Target) -> None:
        assert target.finish(["kill"])[1]["ending"]["exit"] == -9

    def test_a_missing_script_is_told(self, target: Target) -> None:
        assert target.finish(script="conformance/nothing.py")[1]["ending"]["exit"] == 2

    def test_a_missing_package_is_named_with_the_command_that_installs_it(self, target: Target) -> None:
        needs = {**ANY_PYTHON, "dependencies": ["no-such-package==1.0"], "install": "pip install it"}
        _, last = target.finish(["listing"], environment=needs)
        assert last["ending"]["error"]["kind"] == "missing"
        assert "no-such-package==1.0" in last["ending"]["error"]["message"]
        assert "pip install it" in last["ending"]["error"]["message"]
        assert target.refusal("prepare", environment=needs)[0] == "missing"

    def test_too_old_a_python_is_named(self, target: Target) -> None:
        needs = {**ANY_PYTHON, "requires_python": ">=99.1"}
        error = target.finish(["listing"], environment=needs)[1]["ending"]["error"]
        assert error["kind"] == "missing"
        assert "Python >=99.1 is needed" in error["message"]

    def test_secrets_reach_the_script_and_no_file(self, target: Target) -> None:
        value = uuid.uuid4().hex
        job = target.start(["secret", "TOKEN"], secrets={"TOKEN": value})
        events, _ = target.follow(job)
        assert events[0]["message"] == hashlib.sha256(value.encode()).hexdigest()
        everything = "[open(os.path.join(d, f), 'rb').read().hex() for d, _, fs in os.walk(sys.argv[1]) for f in fs]"
        expression = f"[len(text) for text in {everything} if sys.argv[2] in text]"
        assert target.eval(f"len({everything})", f"jobs/{job}") >= 5
        assert target.eval(expression, f"jobs/{job}", value.encode().hex()) == []

    def test_a_script_inherits_nothing_but_its_three_streams(self, target: Target) -> None:
        [event], _ = target.finish(["descriptors"])
        assert event["descriptors"] == [0, 1, 2]

    def test_hostile_names_are_refused(self, target: Target) -> None:
        for job in HOSTILE_JOBS:
            assert target.refusal("start", **target.request() | {"job": job})[0] == "bad_request", job
        for verb in ("cancel", "ack", "events"):
            for job in ("../x", "abc/../def", None):
                assert target.refusal(verb, job=job, since=0, wait=0, grace=0)[0] == "bad_request", (verb, job)
        for script in HOSTILE_SCRIPTS:
            assert target.refusal("start", **target.request(script=script))[0] == "bad_request", script

    def test_hostile_inputs_are_refused(self, target: Target) -> None:
        blob = target.send(os.urandom(10))
        for suffix in HOSTILE_SUFFIXES:
            inputs = [{"index": 0, "suffix": suffix, "blob": blob}]
            assert target.refusal("start", **target.request(inputs=inputs))[0] == "bad_request", suffix
        twice = [{"index": 0, "suffix": "", "blob": blob}] * 2
        assert target.refusal("start", **target.request(inputs=twice))[0] == "bad_request"

    def test_an_acknowledged_job_is_gone(self, target: Target) -> None:
        job = target.start(["write", "out/0/x", 1])
        target.follow(job)
        assert target.call("ack", job=job)["state"] == "gone"
        assert target.call("ack", job=job)["state"] == "gone"
        assert target.refusal("events", job=job, since=0, wait=0)[0] == "no_job"
        assert not [name for name in target.eval("os.listdir('jobs')") if job in name]

    def test_a_running_job_cannot_be_acknowledged_away(self, target: Target) -> None:
        job = target.start(["await", "go"])
        assert target.refusal("ack", job=job)[0] == "bad_request"
        target.put(b"", f"jobs/{job}/go")
        assert target.follow(job)[1]["ending"]["exit"] == 0

    def test_jobs_are_listed_with_their_state(self, target: Target) -> None:
        ended, running = target.start(), target.start(["await", "go"])
        target.follow(ended)
        listed = {each["job"]: each for each in target.call("ls")["jobs"]}
        target.put(b"", f"jobs/{running}/go")
        assert (listed[ended]["state"], listed[running]["state"]) == ("ended", "running")
        assert listed[ended]["age"] >= 0
        target.follow(running)

    def test_gc_takes_old_ended_jobs_and_no_running_one(self, target: Target) -> None:
        old, young, running = target.start(), target.start(), target.start(["await", "go"])
        target.follow(old)
        target.follow(young)
        target.eval(
            "[os.utime(os.path.join(d, n), (time.time() - 8 * 86400,) * 2)"
            " for job in sys.argv[1:] for d in [job] for n in ['', *os.listdir(d)]][:0]",
            f"jobs/{old}",
            f"jobs/{running}",
        )
        deleted = target.call("gc", days=7, bytes=10**12)["deleted"]
        target.put(b"", f"jobs/{running}/go")
        assert old in deleted
        assert not {young, running} & set(deleted)
        assert target.follow(running)[1]["ending"]["exit"] == 0

    def test_facts(self, target: Target) -> None:
        facts = target.call("facts")
        assert facts["cpus"] >= 1
        assert facts["disk_free_bytes"] > 0
        assert target.eval("list(sys.version_info[:2])") == [int(n) for n in facts["python"].split(".")[:2]]

    def test_a_request_that_is_none_is_refused(self, target: Target) -> None:
        runner = f"{target.folder}/runner.py"
        for verb, stdin in [("ls", b"{"), ("ls", b"[]"), ("ls", b'{"v":2}'), ("nosuch", b"{}"), ("start", b"{}")]:
            done = target.executor.run([target.executor.python, runner, verb], stdin)
            assert (done.status, b'"kind":"bad_request"' in done.stdout) == (3, True), (verb, stdin, done)
        assert target.executor.run([target.executor.python, runner]).status == 3

    @staticmethod
    def in_place(target: Target, data: bytes, index: int, suffix: str) -> dict[str, Any]:
        """Describe an input that lies on the target already."""
        name = f"files/{uuid.uuid4().hex}"
        target.put(data, name)
        size, mtime_ns, path = target.eval(
            "(lambda s: [s.st_size, s.st_mtime_ns, os.path.abspath(sys.argv[1])])(os.stat(sys.argv[1]))", name
        )
        return {"index": index, "suffix": suffix, "path": path, "size": size, "mtime_ns": mtime_ns}

    @staticmethod
    def runs(target: Target, job: str) -> int:
        """How many times a job's script was started."""
        return len(target.get(f"jobs/{job}/runs").split())
