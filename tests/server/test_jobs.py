"""Jobs over HTTP: seen, cancelled, removed and tried again, wherever they were asked for."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import httpx
import psutil
import pytest

from broker import settings
from broker.broker import Broker
from broker.job import State
from tests.broker.jobs import ledger
from tests.media import clip
from tests.offload.background import Stage, state, until
from tests.server.asking import WAITING, ask, away, folders, http, over, upload, wish
from tests.server.serving import Serving
from tests.services.typed import FAKEWORK, offload, type_

__all__ = ["http"]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder to type in, with something for the fake work."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.dat").write_bytes(b"some work")
    return tmp_path / "here"


def test_the_latest_come_first_by_service_and_state(http: httpx.Client, offload_dirs: Path) -> None:
    away(offload_dirs)
    sha256 = upload(http)
    first, second, third = (ask(http, wish(sha256, f"{name}.mp4", **WAITING)).json()["job"] for name in "abc")
    assert http.delete(f"/v1/jobs/{second}").json() == {"job": second, "did": "cancelled", "silent": []}

    def listed(**asked: object) -> tuple[list[str], bool]:
        found = http.get("/v1/jobs", params=asked).json()  # type: ignore[arg-type]
        return [row["job"] for row in found["jobs"]], found["more"]

    assert listed() == ([third, second, first], False)
    assert listed(limit=2) == ([third, second], True)
    assert listed(limit=3) == ([third, second, first], False)
    assert listed(state="open") == listed(state="queued") == ([third, first], False)
    assert listed(state="cancelled", service="stabilize") == ([second], False)
    assert listed(service="tag") == listed(service="no such") == ([], False)
    row = http.get("/v1/jobs").json()["jobs"][0]
    assert (row["first"], row["items"], row["state"], row["over"]) == ("c.mp4", 1, "waiting", False)
    assert row["why"].startswith("waiting for away")
    for odd in ({"limit": 0}, {"limit": 201}, {"limit": "x"}, {"state": "nice"}, {"service": "x" * 101}):
        assert http.get("/v1/jobs", params=odd).status_code == 422  # type: ignore[arg-type]
    assert offload(Path.cwd(), "jobs", "ls", "--json").document[0]["job"] == third


def test_the_list_goes_on_page_by_page_whatever_is_removed_meanwhile(
    http: httpx.Client, serving: Serving, offload_dirs: Path
) -> None:
    away(offload_dirs)
    sha256 = upload(http)
    made = [ask(http, wish(sha256, **WAITING)).json()["job"] for _ in range(5)]
    with sqlite3.connect(settings.load().journal) as db:
        db.execute("UPDATE jobs SET created = 1000.5 WHERE rowid > 3")  # at one moment, by a clock that was set back
    db.close()
    whole = [row["job"] for row in http.get("/v1/jobs").json()["jobs"]]
    assert whole == made[::-1] and "Link" not in http.get("/v1/jobs").headers
    first = http.get("/v1/jobs", params={"limit": 2, "state": "open", "service": "stabilize"})
    for method in ("cancel", "remove"):
        with serving.client() as client:
            getattr(client, method)(whole[1])
    second = http.get(first.links["next"]["url"])
    assert second.url.params["before"] == first.json()["before"]
    assert {"limit": "2", "state": "open", "service": "stabilize"}.items() <= dict(second.url.params).items()
    third = http.get(second.links["next"]["url"])
    assert [[row["job"] for row in page.json()["jobs"]] for page in (second, third)] == [whole[2:4], whole[4:]]
    assert "next" not in third.links and third.json()["before"] is None
    for odd in ("", "x", "1.5", "-1", "1e9", "\u0663", "9" * 19, made[0][:-1] + "x"):
        assert http.get("/v1/jobs", params={"before": odd}).status_code == 422, odd
    with serving.client() as client:
        assert [row.job for row in client.all_jobs(limit=1)] == [whole[0], *whole[2:]]
        assert [row.job for row in client.all_jobs(state="cancelled")] == []


def test_what_fails_says_why_and_is_tried_again_in_the_background(http: httpx.Client, offload_dirs: Path) -> None:
    job = ask(http, wish(upload(http))).json()["job"]
    told = over(http, job)
    assert (told["state"], told["items"][0]["state"], told["exit_code"]) == ("failed", "failed", 3)
    assert told["items"][0]["error"] and told["attempts"][0]["target"] == "local"
    log = http.get(f"/v1/jobs/{job}/log")
    assert log.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert log.text.startswith("--- attempt 1 on local: ")
    again = http.post(f"/v1/jobs/{job}/retry")
    assert again.status_code == 200 and not again.json()["over"]
    assert len(over(http, job)["attempts"]) == 2
    assert http.get(f"/v1/jobs/{job}/receipt").json()["items"][0]["kind"] == "bad_input"
    assert http.delete(f"/v1/jobs/{job}").json()["did"] == "removed"
    assert folders(offload_dirs) == []
    for answer in (http.get(f"/v1/jobs/{job}"), http.delete(f"/v1/jobs/{job}"), http.post(f"/v1/jobs/{job}/retry")):
        assert answer.status_code == 404


def test_no_zombie_is_left_of_what_saw_to_a_job(http: httpx.Client, serving: Serving) -> None:
    over(http, ask(http, wish(upload(http))).json()["job"])
    server = psutil.Process(serving.pid)
    until(lambda: not server.children(), "that the server has no child, dead or alive")


def test_what_is_done_or_under_way_is_not_tried_again(http: httpx.Client, offload_dirs: Path, tmp_path: Path) -> None:
    done = ask(http, wish(upload(http, clip(tmp_path / "clip.mp4", 0.2).read_bytes()))).json()["job"]
    assert over(http, done)["state"] == "done"
    again = http.post(f"/v1/jobs/{done}/retry")
    assert again.status_code == 409 and "nothing is missing" in again.json()["detail"]
    away(offload_dirs)
    waits = ask(http, wish(upload(http), **WAITING)).json()["job"]
    again = http.post(f"/v1/jobs/{waits}/retry")
    assert again.status_code == 409 and "is not over" in again.json()["detail"]
    http.delete(f"/v1/jobs/{waits}")
    assert http.post(f"/v1/jobs/{waits}/retry").json()["state"] == "waiting"


def test_removed_by_the_command_line_nothing_of_it_is_left_either(
    http: httpx.Client, offload_dirs: Path, tmp_path: Path
) -> None:
    job = ask(http, wish(upload(http, clip(tmp_path / "clip.mp4", 0.2).read_bytes()))).json()["job"]
    assert over(http, job)["state"] == "done" and list(folders(offload_dirs)[0].glob("out/*"))
    said = offload(tmp_path, "jobs", "rm", job)
    assert said.code == 0 and "went with it" in said.err
    assert folders(offload_dirs) == [] and http.get(f"/v1/jobs/{job}").status_code == 404


def test_a_job_that_waits_since_it_failed_here_is_tried_here_again(
    http: httpx.Client, offload_dirs: Path, tmp_path: Path
) -> None:
    away(offload_dirs)
    job = ask(http, wish(upload(http, clip(tmp_path / "clip.mp4", 0.2).read_bytes()), **WAITING)).json()["job"]
    with Broker(settings.load()) as broker:  # as the driver leaves it when memory ran out
        page = ledger(broker.journal, job)
        page.advance(State.RUNNING)
        page.end_attempt(page.begin_attempt("local", "for a test"), "lost", "memory ran out", {})
    assert http.post(f"/v1/jobs/{job}/retry").status_code == 200
    assert [attempt["state"] for attempt in over(http, job)["attempts"]] == ["lost", "done"]


def test_a_job_that_runs_is_cancelled_with_all_its_processes(http: httpx.Client, here: Path) -> None:
    stage = Stage(here)
    job = stage.detach(*stage.held, "a.dat")
    until(lambda: http.get(f"/v1/jobs/{job}").json()["progress"] > 0, "progress")
    assert http.delete(f"/v1/jobs/{job}").json()["did"] in ("ending", "cancelled")
    assert over(http, job)["state"] == "cancelled"
    assert not (here / "a.worked.bin").exists()


def test_what_was_typed_and_lost_its_terminal_is_gone_on_with(http: httpx.Client, here: Path) -> None:
    stage = Stage(here)
    command = stage.start(*stage.held, "a.dat")
    job = stage.latest()
    command.kill()
    command.communicate()
    until(lambda: state(job) == "interrupted", "that nobody drives it")
    assert http.post(f"/v1/jobs/{job}/retry").status_code == 200
    stage.go_on()
    assert over(http, job)["state"] == "done"
    made = (here / "a.worked.bin").read_bytes()
    told = http.get(f"/v1/jobs/{job}").json()
    assert http.get(f"/v1/jobs/{job}/outputs/{told['items'][0]['outputs'][0]['name']}").content == made


def test_what_a_script_says_that_is_no_text_is_told_all_the_same(http: httpx.Client, here: Path) -> None:
    job = type_([*FAKEWORK, "--json", "--seconds", "0", "a.dat"], here).document["job"]
    measured = json.dumps({"half": "\ud800", "no number": float("nan"), "\udc80": [float("inf"), 10**400]})
    with sqlite3.connect(settings.load().journal) as db:
        db.execute("UPDATE items SET measured = ? WHERE job = ?", (measured, job))
        db.execute("UPDATE jobs SET params = ? WHERE id = ?", (json.dumps({"prompt": "\udcff"}), job))
    db.close()
    told = http.get(f"/v1/jobs/{job}").json()
    assert told["params"] == {"prompt": "\\udcff"}
    assert told["items"][0]["measured"] == {"half": "\\ud800", "no number": None, "\\udc80": [None, 10**400]}
    for path in ("", "/receipt", "/log"):
        assert http.get(f"/v1/jobs/{job}{path}").status_code == 200
    assert http.get("/v1/jobs").status_code == 200


def test_ids_are_whole_and_nothing_else(http: httpx.Client, offload_dirs: Path) -> None:
    away(offload_dirs)
    job = ask(http, wish(upload(http), **WAITING)).json()["job"]
    for odd in (job[:6], job.upper(), f"{job}%00", "%25", "_" * 12, "%F0%9F%98%80", "x" * 5000):
        for method, end in (("GET", ""), ("DELETE", ""), ("POST", "/retry"), ("GET", "/receipt"), ("GET", "/log")):
            answer = http.request(method, f"/v1/jobs/{odd}{end}")
            if odd != job:
                assert answer.status_code == 404, (method, odd, end)
                assert answer.headers["Content-Type"] == "application/problem+json"
    with Broker(settings.load()) as broker:
        assert [one.id for one in broker.journal.jobs()] == [job]
