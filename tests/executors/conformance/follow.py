"""Following a job: every event once, from any byte on, whoever asks and however often."""

from __future__ import annotations

import json

from tests.executors.conformance.suite import Suite
from tests.executors.target import Target


class Following(Suite):
    """`events`."""

    def test_a_job_outlives_the_command_and_the_connection_that_started_it(self, target: Target) -> None:
        job = target.start(["event", {"type": "log"}], ["await", "go"], ["event", {"type": "log", "n": 2}])
        target.executor.__exit__(None, None, None)
        target.executor.__enter__()
        target.put(b"", f"jobs/{job}/go")
        events, last = target.follow(job)
        assert (len(events), last["ending"]["exit"]) == (2, 0)

    def test_each_event_comes_once_to_one_who_asks_where_he_stopped(self, target: Target) -> None:
        job = target.start(["event", {"type": "log", "n": 1}], ["await", "go"], ["event", {"type": "log", "n": 2}])
        first = next(page.value for page in target.pages(job) if page.events)
        nothing = target.call("events", job=job, since=first["next"], wait=0)
        target.put(b"", f"jobs/{job}/go")
        events, _ = target.follow(job, first["next"])
        assert (nothing["next"], nothing["state"]) == (first["next"], "running")
        assert [event["n"] for event in events] == [2]

    def test_one_who_comes_later_reads_everything_again(self, target: Target) -> None:
        job = target.start(*(["event", {"type": "log", "n": n}] for n in range(5)))
        first, second = target.follow(job), target.follow(job)
        assert [event["n"] for event in first[0]] == list(range(5))
        assert (first[0], first[1]["ending"]) == (second[0], second[1]["ending"])

    def test_a_line_that_is_not_finished_is_not_told(self, target: Target) -> None:
        job = target.start(["raw", '{"type":"log"}\n{"type":'], ["await", "go"], ["raw", '"log","whole":true}\n'])
        [seen] = target.wait_for(job, bool)
        reply = target.call("events", job=job, since=0, wait=0)
        target.put(b"", f"jobs/{job}/go")
        events, _ = target.follow(job, reply["next"])
        assert (seen, reply["next"]) == ({"type": "log"}, len('{"type":"log"}\n'))
        assert events == [{"type": "log", "whole": True}]

    def test_a_line_that_was_never_finished_does_not_keep_the_job_from_ending(self, target: Target) -> None:
        events, last = target.finish(["event", {"type": "log"}], ["raw", '{"type":"item_do'], ["kill"])
        assert (events, last["ending"]["exit"]) == ([{"type": "log"}], -9)

    def test_many_events_come_a_page_at_a_time_and_the_end_comes_with_the_last(self, target: Target) -> None:
        job = target.start(["flood", 3000, 60])
        target.follow(job)
        pages = list(target.pages(job))  # `exchange` holds each under the limit
        assert len(pages) > 4
        assert [page.value["state"] for page in pages] == ["running"] * (len(pages) - 1) + ["ended"]
        assert [event["number"] for page in pages for event in page.events] == list(range(3000))
        assert ["ending" in page.value for page in pages[:-1]] == [False] * (len(pages) - 1)

    def test_noise_is_passed_on_and_harms_nothing(self, target: Target) -> None:
        noise = "".join(map(chr, range(256))) * 400 + "\n\r\x85\n"
        job = target.start(["raw", noise], ["raw", '{"v":1,"next":0}\nnot json\n[1]\n'], ["event", {"type": "log"}])
        events, last = target.follow(job)
        assert events[-1] == {"type": "log"}
        assert (last["ending"]["exit"], last["next"]) == (0, len(target.get(f"jobs/{job}/events.jsonl")))

    def test_a_line_too_long_for_a_reply_is_refused_by_name(self, target: Target) -> None:
        request = target.request(["raw", "x" * 100_000 + "\n"])
        while target.call("start", **request)["state"] == "running":
            pass
        kind, message = target.refusal("events", job=request["job"], since=0, wait=1)
        assert (kind, "line of more than" in message) == ("failed", True)

    def test_progress_is_gathered_and_news_is_not(self, target: Target) -> None:
        progress = [["event", {"type": "progress", "index": 0, "fraction": n / 5}] for n in range(5)]
        job = target.start(*progress, ["event", {"type": "item_done"}], ["await", "go"])
        events = target.wait_for(job, lambda seen: bool(seen) and seen[-1]["type"] == "item_done")
        target.put(b"", f"jobs/{job}/go")
        assert [event["type"] for event in events] == ["progress"] * 5 + ["item_done"]

    def test_a_job_that_is_not_here_is_told(self, target: Target) -> None:
        assert target.refusal("events", job="neverstarted", since=0, wait=0)[0] == "no_job"

    def test_the_heartbeat_ages_by_the_target_s_clock_and_never_below_zero(self, target: Target) -> None:
        job = target.start()
        target.follow(job)
        for shift, at_least, at_most in [(-3600, 3600, 3700), (3600, 0, 0)]:
            target.eval(
                "os.utime(sys.argv[1], (time.time() + int(sys.argv[2]),) * 2)", f"jobs/{job}/status.json", shift
            )
            assert at_least <= target.call("events", job=job, since=0, wait=0)["heartbeat_age"] <= at_most

    def test_the_last_word_can_be_read_as_a_file(self, target: Target) -> None:
        job = target.start(["exit", 5])
        last = target.follow(job)[1]
        assert json.loads(target.get(f"jobs/{job}/status.json")) == last["ending"]
