"""Endings: whatever becomes of a job, no process of it is left and what happened is told."""

from __future__ import annotations

import pytest

from tests.executors.conformance.suite import Suite
from tests.executors.target import Target

FAMILY = (["stubborn", "inherited"], ["stubborn", "inherited"], ["pid"], ["sleep", 600])
SIGNAL = "os.kill(int(sys.argv[1]), int(sys.argv[2]))"
FIFTY_TIMES = f"""
import contextlib, os, sys, time
with contextlib.suppress(ProcessLookupError):  # it is over
    for _ in range(50):
        {SIGNAL}
        time.sleep(0.0002)
"""


class Endings(Suite):
    """`cancel`, and supervisors that die."""

    def test_cancel_ends_grandchildren_that_ignore_sigterm_in_sessions_of_their_own(self, target: Target) -> None:
        job = target.start(*FAMILY)
        pids = target.pids(job, 3)
        assert target.alive(pids) == pids
        assert target.call("cancel", job=job, grace=0.5)["state"] == "ended"
        assert target.alive(pids) == []
        assert target.follow(job)[1]["ending"]["cancelled"] is True

    def test_cancel_ends_an_orphan_that_cleared_its_environment(self, target: Target) -> None:
        if not target.call("facts")["platform"].startswith("linux"):
            pytest.skip("only Linux lets a supervisor adopt orphans")
        job = target.start(["stubborn", "none"], ["pid"], ["sleep", 600])
        pids = target.pids(job, 2)
        target.call("cancel", job=job, grace=0)
        assert target.alive(pids) == []

    def test_a_polite_script_has_its_time_to_save(self, target: Target) -> None:
        job = target.start(["polite"], ["sleep", 600])
        target.pids(job, 1)
        target.call("cancel", job=job, grace=30)
        events, last = target.follow(job)
        assert events[-1]["message"] == "saved"
        assert (last["ending"]["exit"], last["ending"]["cancelled"]) == (0, True)

    def test_cancel_of_a_job_that_is_not_here_leaves_no_trace(self, target: Target) -> None:
        assert target.call("cancel", job="neverstarted", grace=0)["state"] == "unknown"
        assert "neverstarted" not in target.eval("os.listdir('jobs') if os.path.exists('jobs') else []")

    def test_cancel_twice_and_after_the_end_changes_nothing(self, target: Target) -> None:
        cancelled, ended = target.start(["sleep", 600]), target.start()
        for _ in range(2):
            assert target.call("cancel", job=cancelled, grace=0)["state"] == "ended"
        before = target.follow(ended)[1]["ending"]
        assert target.call("cancel", job=ended, grace=0)["state"] == "ended"
        assert target.follow(ended)[1]["ending"] == before
        assert before["cancelled"] is False

    def test_cancel_at_the_moment_of_the_start(self, target: Target) -> None:
        for _ in range(3):
            request = target.request(["pid"], ["stubborn", "inherited"], ["sleep", 600])
            target.call("start", **request)
            assert target.call("cancel", job=request["job"], grace=0)["state"] == "ended"
            events, last = target.follow(request["job"])
            assert last["ending"]["cancelled"] is True
            assert target.alive([event["pid"] for event in events]) == []
            assert target.call("start", **request)["state"] == "ended"

    def test_nothing_outlives_a_script_that_ends(self, target: Target) -> None:
        job = target.start(["stubborn", "inherited"], ["await", "go"])
        pids = target.pids(job, 1)
        target.put(b"", f"jobs/{job}/go")
        assert target.follow(job)[1]["ending"]["exit"] == 0
        assert target.alive(pids) == []

    def test_a_killed_supervisor_is_noticed_and_its_script_ended(self, target: Target) -> None:
        job = target.start(*FAMILY)
        pids = target.pids(job, 3)
        target.eval(SIGNAL, target.supervisor(job), 9)
        assert target.follow(job)[1]["state"] == "lost"
        assert target.alive(pids) == []
        assert target.call("cancel", job=job, grace=0)["state"] == "ended"

    def test_a_lost_job_is_not_started_again_and_can_be_acknowledged(self, target: Target) -> None:
        request = target.request(*FAMILY)
        target.call("start", **request)
        pids = target.pids(request["job"], 3)
        target.eval(SIGNAL, target.supervisor(request["job"]), 9)
        assert target.call("start", **request)["state"] == "lost"
        target.call("ack", job=request["job"])
        assert target.alive(pids) == []

    @pytest.mark.parametrize(("number", "name"), [(15, "SIGTERM"), (1, "SIGHUP")])
    def test_a_supervisor_told_to_go_ends_its_script_and_says_so(self, target: Target, number: int, name: str) -> None:
        job = target.start(*FAMILY)
        pids = target.pids(job, 3)
        target.eval(SIGNAL, target.supervisor(job), number)
        ending = target.follow(job)[1]["ending"]
        assert (ending["terminated"], ending["cancelled"]) == (name, False)
        assert target.alive(pids) == []

    def test_a_supervisor_told_twice_to_go_says_so_all_the_same(self, target: Target) -> None:
        job = target.start(*FAMILY)
        target.pids(job, 3)
        assert target.python(FIFTY_TIMES, target.supervisor(job), 15).status == 0
        assert target.follow(job)[1]["ending"]["terminated"] == "SIGTERM"

    def test_cancel_ends_a_job_whose_supervisor_is_stopped(self, target: Target) -> None:
        job = target.start(*FAMILY)
        pids, supervisor = target.pids(job, 3), target.supervisor(job)
        target.eval(SIGNAL, supervisor, 19)
        assert target.call("cancel", job=job, grace=0)["state"] == "ended"
        assert target.alive([*pids, supervisor]) == []
