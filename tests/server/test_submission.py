"""A wish becomes a job once, whatever dies in between, and is what the command line would have made of it."""

from __future__ import annotations

import json
import os
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker import settings
from broker.broker import Broker
from broker.job import Job
from server import folders as places
from server import submission
from tests.server.asking import NOISE, WAITING, ask, away, end_all, folders, http, upload, wish
from tests.server.serving import REPO, Serving
from tests.services.typed import offload

__all__ = ["http"]

DIES = """
import os, signal
from broker.journal import Journal
submit = Journal.submit
def dying(*args, **named):
    submit(*args, **named)
    os.kill(os.getpid(), signal.SIGKILL)
Journal.submit = dying
"""
"""A server that dies when a job is recorded, before anybody is told."""

FAILS = """
import os
from pathlib import Path
link = os.link
def failing(source, *rest, **named):
    if "second" in str(rest):
        raise OSError(28, "No space left on device")
    return link(source, *rest, **named)
os.link = failing
"""


@pytest.fixture(autouse=True)
def nothing_runs(offload_dirs: Path) -> None:
    """Jobs that wait for a target that is away."""
    away(offload_dirs)


def recorded() -> list[Job]:
    with Broker(settings.load()) as broker:
        return broker.journal.jobs(1000)


def with_code(code: str, folder: Path) -> dict[str, str]:
    """An environment in which every Python begins with `code`."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": f"{folder / 'site'}:{REPO}"}


def test_the_same_key_makes_one_job_of_64_wishes_at_once(http: httpx.Client) -> None:
    sent = wish(upload(http), **WAITING)
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: ask(http, sent, "once"), range(64)))
    assert sorted(answer.status_code for answer in answers) == [200] * 63 + [201]
    assert {answer.json()["job"] for answer in answers} == {job.id for job in recorded()}


def test_two_wishes_without_a_key_are_two_jobs(http: httpx.Client, offload_dirs: Path) -> None:
    sent = wish(upload(http), **WAITING)
    assert [ask(http, sent).status_code for _ in range(2)] == [201, 201]
    assert len(recorded()) == len(folders(offload_dirs)) == 2


def test_another_wish_with_the_same_key_is_refused(http: httpx.Client) -> None:
    sha256 = upload(http)
    first = ask(http, wish(sha256, **WAITING), "k")
    other = ask(http, wish(sha256, params={"smoothing": 31}, **WAITING), "k")
    assert other.status_code == 422 and "Idempotency-Key" in other.json()["detail"]
    assert [job.id for job in recorded()] == [first.json()["job"]]
    assert first.headers["Location"] == f"/v1/jobs/{first.json()['job']}"


def test_a_job_that_is_over_is_still_the_one_of_its_key(http: httpx.Client) -> None:
    sent = wish(upload(http), **WAITING)
    job = ask(http, sent, "k").json()["job"]
    assert http.delete(f"/v1/jobs/{job}").json()["did"] == "cancelled"
    again = ask(http, sent, "k")
    assert (again.status_code, again.json()["job"], again.json()["state"]) == (200, job, "cancelled")
    assert http.delete(f"/v1/jobs/{job}").json()["did"] == "removed"
    assert ask(http, sent, "k").status_code == 201


def test_a_key_is_200_printable_characters_at_most(http: httpx.Client) -> None:
    sent = wish(upload(http), **WAITING)
    for key in ("", "x" * 201, "ümlaut", "tab\there"):
        headers = [(b"Idempotency-Key", key.encode("latin-1"))]
        assert http.post("/v1/jobs", json=sent, headers=headers).status_code == 422, key  # type: ignore[arg-type]
    assert recorded() == []


def test_a_server_killed_before_it_could_answer_finds_the_job_again(tmp_path: Path) -> None:
    env = with_code(DIES, tmp_path)
    with Serving(tmp_path, env) as serving:
        with serving.http() as http:
            sent = wish(upload(http), **WAITING)
            with pytest.raises(httpx.TransportError):
                ask(http, sent, "k")
        serving.kill()
        serving.env["PYTHONPATH"] = str(REPO)
        serving.start()
        with serving.http() as http:
            again = ask(http, sent, "k")
        assert again.status_code == 200
        assert [job.id for job in recorded()] == [again.json()["job"]]
    end_all()


def test_what_a_crash_left_before_there_was_a_job_is_made_anew(http: httpx.Client, offload_dirs: Path) -> None:
    folder = offload_dirs / "state/server/jobs" / submission._name("k")
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "clip.mp4").write_bytes(b"half")
    sent = wish(upload(http), **WAITING)
    assert ask(http, sent, "k").status_code == 201
    assert (folder / "in" / "clip.mp4").read_bytes() == NOISE


def test_results_whose_job_is_not_known_any_more_are_kept(
    http: httpx.Client, offload_dirs: Path, serving: Serving
) -> None:
    folder = offload_dirs / "state/server/jobs" / submission._name("k")
    (folder / "out" / "0").mkdir(parents=True)
    (folder / "out" / "0" / "clip.stabilized.mp4").write_bytes(b"an hour of work")
    assert ask(http, wish(upload(http), **WAITING), "k").status_code == 201
    assert [path.name for path in folder.glob("out/*")] == []
    [aside] = [one for one in folders(offload_dirs) if one != folder]
    assert (aside / "out" / "0" / "clip.stabilized.mp4").read_bytes() == b"an hour of work"
    assert f"it is kept as {aside}" in serving.log.read_text()
    os.utime(aside, (0, 0))
    with Broker(settings.load()) as broker:
        places.sweep(broker)
    assert aside.exists()


def test_a_wish_that_fails_half_way_leaves_no_folder(tmp_path: Path, offload_dirs: Path) -> None:
    with Serving(tmp_path, with_code(FAILS, tmp_path)) as serving, serving.http() as http:
        full = ask(http, wish(upload(http), "first.mp4", "second.mp4", **WAITING), "k")
        assert full.status_code == 507 and "is full" in full.json()["detail"]
        nowhere = ask(http, wish(upload(http), on="nowhere"))
        assert nowhere.status_code == 422 and "nowhere" in nowhere.json()["detail"]
        assert folders(offload_dirs) == [] and recorded() == []
        assert ask(http, wish(upload(http), **WAITING), "k").status_code == 201
    end_all()


def test_blobs_are_linked_not_copied_and_hashed_once(http: httpx.Client, offload_dirs: Path) -> None:
    sha256 = upload(http)
    blob = offload_dirs / "state/server/blobs" / sha256
    blob.chmod(0o600)
    blob.write_bytes(NOISE.upper())  # it was checked when it came: who looks again sees another
    ask(http, wish(sha256, "a.mp4", "b.mp4", **WAITING))
    [job] = recorded()
    assert [item.source.name for item in job.items] == ["a.mp4", "b.mp4"]
    assert all(item.source.samefile(blob) and item.sha256 == sha256 for item in job.items)
    assert job.folder == job.items[0].source.parent.parent and job.detached
    assert all((folder.stat().st_mode & 0o777) == 0o700 for folder in [job.folder, *job.folder.glob("*/")])


def test_the_job_is_what_a_person_would_type_in_its_folder(http: httpx.Client) -> None:
    how = {"params": {"smoothing": 7, "fast": True, "to_sdr": False, "report": True}, "priority": 3, "cache": False}
    ask(http, wish(upload(http), deadline=1234567, **how, **WAITING))
    [job] = recorded()
    assert job.command == (
        *("offload", "stabilize", "--smoothing=7", "--fast", "--report=out/"),
        *("--no-cache", "--deadline=1234567s", "--when=remote", "--priority=3", "-o", "out/", "in/clip.mp4"),
    )
    assert job.params["smoothing"] == 7 and job.params["fast"] is True and job.params["report"] is True
    assert (job.priority, job.cache, job.waits, job.spread, job.fallback) == (3, False, "remote", False, True)
    assert job.deadline is not None and 1234400 < job.deadline - time.time() <= 1234567
    out = job.folder / "out" if job.folder else Path()
    assert [made.dest for made in job.items[0].outputs] == [out / "clip.stabilized.mp4", out / "clip.report.png"]
    assert out.is_dir() and job.session == submission.SESSION
    told = http.get(f"/v1/jobs/{job.id}").json()["command"]
    assert told.startswith(f"cd {job.folder} && offload stabilize ") and told.endswith(" -o out/ in/clip.mp4")


SEVERAL: dict[str, tuple[list[str], dict[str, Any]]] = {
    "several, with reports": (["a.mp4", "b.mp4"], {"report": True}),
    "outputs of one name": (["clip.avi", "clip.webm"], {}),
    "inputs of one name, with reports": (["clip.mp4", "CLIP.mp4", "-x.mp4"], {"report": True, "fast": True}),
}


@pytest.mark.parametrize("several", SEVERAL)
def test_the_told_command_is_one_that_the_command_line_takes_for_the_same_job(
    http: httpx.Client, tmp_path: Path, several: str
) -> None:
    names, params = SEVERAL[several]
    job = ask(http, wish(upload(http), *names, params=params, **WAITING)).json()
    assert ("--apart" in job["command"]) == ("one name" in several)
    _, _, command = job["command"].partition(" && offload ")
    typed = offload(recorded()[0].folder or tmp_path, *shlex.split(command))
    assert (typed.code, typed.lines) == (0, [job["job"]]), typed.err
    assert [one.id for one in recorded()] == [job["job"]]


def test_the_rest_of_how_is_honoured_too(http: httpx.Client) -> None:
    sha256 = upload(http)
    ask(http, wish(sha256, on="away", fallback=False))
    ask(http, wish(sha256, on="away", spread=True))
    spread, alone = recorded()
    assert (spread.spread, spread.fallback, spread.on) == (True, True, "away")
    assert (alone.spread, alone.fallback, alone.waits) == (False, False, "")


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"spread": True, "fallback": False}, "spread and fallback: false exclude each other"),
    ({"deadline": 10}, "deadline says how long when: remote waits"),
    (
        {"when": "remote", "on": "local"},
        "when: remote waits for another machine than this one, and on: local forbids it",
    ),
    ({"on": "nowhere"}, "nowhere"),
    ({"service": "paint"}, "no service 'paint'; there are: caption, stabilize"),
    ({"params": {"crf": 99}}, "crf 99: it takes a whole number, 0 to 51"),
    ({"priority": 1001}, "priority"),
    ({"deadline": -1, "when": "remote"}, "deadline"),
    ({"inputs": []}, "inputs"),
    ({"nothing": 1}, "nothing"),
]


def test_what_the_command_line_refuses_is_refused_in_its_words(http: httpx.Client, offload_dirs: Path) -> None:
    sha256 = upload(http)
    for how, said in REFUSED:
        answer = ask(http, wish(sha256) | how)
        assert answer.status_code == 422 and said in answer.json()["detail"], how
        assert answer.headers["content-type"] == "application/problem+json"
    assert recorded() == [] and folders(offload_dirs) == []


def odd_bodies(sha256: str) -> list[bytes]:
    """Wishes that are none, each in its way."""
    good = json.dumps(wish(sha256)).encode()
    halves = [b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"']
    return [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        good[:-1],
        good.replace(b'"clip.mp4"', b"1" * 5000),
        *(good.replace(b'"stabilize"', half) for half in halves),
        *(good.replace(b'"service"', half) for half in halves[:2]),
        *(good.replace(f'"{sha256}"'.encode(), half) for half in halves),
        *(good[:-1] + b', "params": {"smoothing": ' + value + b"}}" for value in (b"NaN", b"1e999", b"-Infinity")),
        *(
            good[:-1] + b', "params": {"smoothing": ' + value + b"}}"
            for value in (b"1" * 5000, b"[" * 500 + b"]" * 500)
        ),
        *(good[:-1] + b', "params": {' + half + b": 1}}" for half in halves),
        *(good[:-1] + b', "params": {"preset": ' + half + b"}}" for half in halves),
        *(good[:-1] + b', "on": ' + half + b"}" for half in halves),
        *(
            good[:-1] + b', "deadline": ' + value + b', "when": "remote"}'
            for value in (b"NaN", b"1e999", b'"x"', b"1e9")
        ),
        *(
            good[:-1] + b', "priority": ' + value + b"}"
            for value in (b"NaN", b"1e999", b"9" * 4000, b"0.5", b'"5"', b"true")
        ),
        *(good[:-1] + b', "fallback": ' + value + b"}" for value in (b"0", b'"no"')),
        good[:-1] + b', "inputs": [' + b",".join([b'{"name": "x", "size": 1, "path": "/x"}'] * 3) + b"]}",
    ]


def test_whatever_is_sent_is_answered_with_a_sentence(http: httpx.Client, offload_dirs: Path, serving: Serving) -> None:
    for body in odd_bodies(upload(http)):
        for path in ("/v1/jobs", "/v1/plan"):
            answer = http.post(path, content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (400, 409, 422) and answer.json()["detail"], (path, body[:300])
    for name in ("\x7f", " ", "\u200b", "x" * 255, "\U0001f3ac" * 100, "CON", "a\tb"):
        assert ask(http, wish(upload(http), name, **WAITING)).status_code == 201, name
    assert len(folders(offload_dirs)) == len(recorded()) == 7
    assert "Traceback" not in serving.log.read_text()


def test_a_file_that_was_not_uploaded_is_asked_for(http: httpx.Client) -> None:
    answer = ask(http, wish("0" * 64))
    assert answer.status_code == 409 and "was uploaded" in answer.json()["detail"]
    assert "/v1/blobs" in answer.json()["hint"]


def test_offline_without_the_model_it_says_what_fetches_it(tmp_path: Path, offload_dirs: Path) -> None:
    with Serving(tmp_path, {"OFFLOAD_OFFLINE": "1"}) as serving, serving.http() as http:
        answer = ask(http, wish(upload(http)) | {"service": "transcribe", "params": {"model": "tiny"}})
    assert answer.status_code == 424 and answer.json()["exit_code"] == 4
    assert answer.json()["hint"] == "offload models prefetch tiny"
    assert folders(offload_dirs) == []


NAMES = [
    ("../../etc/passwd", "passwd"),
    ("C:\\clips\\one.mp4", "one.mp4"),
    ("a\x00b\n\x1b[2J.mp4", "ab[2J.mp4"),
    ("..", "input"),
    ("/", "input"),
    ("\u202e4pm.exe", "4pm.exe"),
    ("ü" * 200 + ".mp4", "ü" * 98 + ".mp4"),
    ("-rf.mp4", "-rf.mp4"),
    ("a b'\"$(id).mp4", "a b'\"$(id).mp4"),
]


def test_names_are_made_harmless_and_stay_what_they_are_otherwise(http: httpx.Client) -> None:
    sha256 = upload(http)
    for sent, kept in NAMES:
        assert ask(http, wish(sha256, sent[:255], **WAITING)).status_code == 201
        [item] = recorded()[0].items
        assert (item.source.name, item.source.parent.name) == (kept, "in")
        assert item.source.parent.parent == recorded()[0].folder


def test_two_inputs_of_one_name_each_have_a_place_of_their_own(http: httpx.Client) -> None:
    job = ask(http, wish(upload(http), "clip.mp4", "CLIP.mp4", **WAITING)).json()
    [recorded_job] = recorded()
    places = [item.source.relative_to(recorded_job.folder or "/") for item in recorded_job.items]
    assert list(map(str, places)) == ["in/0/clip.mp4", "in/1/CLIP.mp4"]
    assert [item["name"] for item in job["items"]] == ["clip.mp4", "CLIP.mp4"]
    assert len({output.dest for item in recorded_job.items for output in item.outputs}) == 2


def test_two_inputs_whose_outputs_would_be_one_have_folders_of_their_own(http: httpx.Client) -> None:
    ask(http, wish(upload(http), "clip.avi", "clip.webm", **WAITING))
    [job] = recorded()
    dests = [output.dest.relative_to(job.folder or "/") for item in job.items for output in item.outputs]
    assert list(map(str, dests)) == ["out/0/clip.stabilized.mp4", "out/1/clip.stabilized.mp4"]


def test_files_here_are_named_only_where_that_is_allowed(http: httpx.Client, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(NOISE)
    sent = {"service": "stabilize", "inputs": [{"path": f"{tmp_path}/clip.mp4"}], **WAITING}
    answer = ask(http, sent)
    assert answer.status_code == 403 and "OFFLOAD_SERVE_PATHS" in answer.json()["hint"]
    assert recorded() == []


def test_files_here_are_regular_ones_used_where_they_are(tmp_path: Path, offload_dirs: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(NOISE)
    os.mkfifo(tmp_path / "pipe.mp4")
    key, private = tmp_path / "key.pem", offload_dirs / "config" / "clip.mp4"
    (tmp_path / "to-key.mp4").symlink_to(key)
    (tmp_path / "to-private.mp4").symlink_to(private)
    (tmp_path / "state").symlink_to(offload_dirs / "state")
    for path in (key, private):
        path.write_bytes(NOISE)
    with Serving(tmp_path, {"OFFLOAD_SERVE_PATHS": "1"}) as serving, serving.http() as http:

        def ask_for(path: object) -> httpx.Response:
            return ask(http, {"service": "stabilize", "inputs": [{"path": str(path)}], **WAITING})

        for path in (tmp_path / "pipe.mp4", tmp_path, "/dev/zero", tmp_path / "none", "clip.mp4", f"{tmp_path}/\0"):
            answer = ask_for(path)
            assert (answer.status_code, answer.json()["exit_code"]) == (422, 3), path
        for path in (key, tmp_path / "to-key.mp4"):
            assert "stabilize takes .avi" in ask_for(path).json()["detail"], path
        token = "state/server/token"
        for path in (private, tmp_path / "to-private.mp4", tmp_path / token, f"{offload_dirs}/cache/../{token}"):
            answer = ask_for(path)
            assert (answer.status_code, "may not be named" in answer.json()["detail"]) == (403, True), path
        assert folders(offload_dirs) == []
        assert ask_for(tmp_path / "clip.mp4").status_code == 201
    [job] = recorded()
    assert job.items[0].source == tmp_path / "clip.mp4"
    assert job.folder and job.items[0].outputs[0].dest.parent == job.folder / "out"
    end_all()


def test_what_crashes_left_is_swept_and_nothing_else(http: httpx.Client, offload_dirs: Path) -> None:
    job = ask(http, wish(upload(http), **WAITING)).json()["job"]
    jobs = offload_dirs / "state/server/jobs"
    left, young, result = (jobs / (char * 32) for char in "abc")
    for folder in (left, young, result):
        (folder / "out").mkdir(parents=True)
    (result / "out" / "clip.mp4").touch()
    for folder in (left, result, *folders(offload_dirs)):
        if folder != young:
            os.utime(folder, (0, 0))
    with Broker(settings.load()) as broker:
        places.sweep(broker)
    assert not left.exists() and young.exists() and result.exists()
    assert http.get(f"/v1/jobs/{job}").json()["items"][0]["viewable"]
