"""Files of jobs over HTTP: ranges, tags and names; only what a job has; nothing that runs in a browser."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker import settings
from broker.broker import Broker
from broker.job import Input, Request
from broker.stop import Stop
from tests.media import clip
from tests.server.asking import NOISE, WAITING, ask, away, http, upload, wish
from tests.server.serving import Serving

__all__ = ["http"]

SHOWS = Path(__file__).with_name("browser") / "shows.py"


@pytest.fixture
def done(http: httpx.Client, tmp_path: Path) -> dict[str, Any]:
    """A clip that was steadied, under a name of many kinds of letters: in `made`, by a script that copies from `ready`.

    None that steadies, for all that is looked at is files.
    """
    source, ready, made = tmp_path / 'é "100%"; x.mp4', tmp_path / "ready" / "0", tmp_path / "made"
    for place in (ready, made):
        place.mkdir(parents=True)
    for number, file in enumerate((source, ready / "stabilized.mp4", ready / "report.png"), 1):
        file.write_bytes(bytes(range(256)) * 10 * number)
    wanted = Input(source, {name: made / f"{source.stem}.{name}" for name in ("stabilized.mp4", "report.png")})
    with Broker(settings.load()) as broker:
        params = {"ready": str(ready.parent), "measured": {}}
        job = broker.submit(Request("stabilize", SHOWS, params, (wanted,)))
        list(broker.drive(job, Stop()))
    told: dict[str, Any] = http.get(f"/v1/jobs/{job.id}").json()
    return told


@pytest.fixture
def waiting(offload_dirs: Path, http: httpx.Client) -> Iterator[dict[str, Any]]:
    """A job that waits, with inputs of many kinds."""
    away(offload_dirs)
    names = (
        "page.html",
        "drawing.svg",
        "x.xhtml",
        "x.js",
        "x.xml",
        "notes.txt",
        "clip.mkv",
        "clip.mp4",
        "noname",
        "x.pdf",
    )
    yield ask(http, wish(upload(http), *names, **WAITING)).json()


def test_an_output_comes_whole_or_in_ranges_and_its_tag_is_its_sha256(http: httpx.Client, done: dict[str, Any]) -> None:
    assert done["state"] == "done", done["error"]
    for told in done["items"][0]["outputs"]:
        path = f"/v1/jobs/{done['job']}/outputs/{told['name']}"
        whole = http.get(path)
        data = whole.content
        assert (whole.status_code, len(data), hashlib.sha256(data).hexdigest()) == (200, told["size"], told["sha256"])
        assert whole.headers["ETag"].startswith(f'"{told["sha256"]}-') and whole.headers["Content-Type"] == told["kind"]
        size = len(data)
        for asked, span in (
            ("bytes=0-0", (0, 1)),
            ("bytes=5-9", (5, 10)),
            ("bytes=-7", (size - 7, size)),
            (f"bytes=-{10 * size}", (0, size)),
            (f"bytes={size - 3}-{10 * size}", (size - 3, size)),
            ("bytes=10-", (10, size)),
        ):
            part = http.get(path, headers={"Range": asked})
            assert (part.status_code, part.content) == (206, data[slice(*span)]), asked
            assert part.headers["Content-Range"] == f"bytes {span[0]}-{span[1] - 1}/{size}"
            assert int(part.headers["Content-Length"]) == span[1] - span[0]
        for beyond in (f"bytes={size}-", "bytes=-0", f"bytes={size + 5}-{size + 9}"):
            none = http.get(path, headers={"Range": beyond})
            assert (none.status_code, none.headers["Content-Range"]) == (416, f"bytes */{size}"), beyond
            assert none.json()["status"] == 416
        for odd in ("bytes=9-5", "bytes=a-b", "bytes=-", "pages=1-2", "bytes=0-1,5-6", "bytes=" + "9" * 40 + "-", ""):
            assert http.get(path, headers={"Range": odd}).content == data, odd
        tag = whole.headers["ETag"]
        assert http.get(path, headers={"If-None-Match": tag}).status_code == 304
        assert http.get(path, headers={"Range": "bytes=0-0", "If-Range": tag}).status_code == 206
        assert http.get(path, headers={"Range": "bytes=0-0", "If-Range": '"other"'}).content == data
        head = http.head(path, headers={"Range": "bytes=5-9"})
        assert (head.status_code, head.content, head.headers["Content-Length"]) == (206, b"", "5")
        assert http.head(path).headers["Content-Length"] == f"{size}"


def test_a_file_is_saved_under_its_name_in_all_its_letters(http: httpx.Client, done: dict[str, Any]) -> None:
    told = done["items"][0]["outputs"][0]
    path = f"/v1/jobs/{done['job']}/outputs/{told['name']}"
    said = http.get(path, params={"download": 1}).headers["Content-Disposition"]
    assert said == (
        'attachment; filename="_ _100__; x.stabilized.mp4";'
        " filename*=UTF-8''%C3%A9%20%22100%25%22%3B%20x.stabilized.mp4"
    )
    assert http.get(path).headers["Content-Disposition"].startswith("inline; ")


def test_what_is_not_any_more_what_was_published_is_not_sent(
    http: httpx.Client, done: dict[str, Any], tmp_path: Path
) -> None:
    video, _ = done["items"][0]["outputs"]
    file = tmp_path / "made" / video["file"]
    path = f"/v1/jobs/{done['job']}/outputs/{video['name']}"
    tag, kept = http.get(path).headers["ETag"], file.stat()
    os.utime(file, ns=(kept.st_atime_ns, kept.st_mtime_ns + 1))  # edited, and as long as it was
    assert http.get(path, headers={"If-None-Match": tag}).status_code == 200
    file.rename(file.with_suffix(".kept"))
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * (video["size"] + 1))
    for change in (
        lambda: None,
        lambda: file.write_bytes(b"shorter"),
        lambda: file.symlink_to(secret),
        lambda: os.mkfifo(file),
        lambda: file.mkdir(),
    ):
        change()
        gone = http.get(path)
        assert gone.status_code == 404 and "is not there any more as it was" in gone.json()["detail"]
        assert http.head(path).status_code == 404
        if file.is_dir():
            file.rmdir()
        else:
            file.unlink(missing_ok=True)
    file.with_suffix(".kept").rename(file)
    assert http.get(path).status_code == 200
    source = tmp_path / done["items"][0]["name"]
    assert http.get(f"/v1/jobs/{done['job']}/inputs/0").content == source.read_bytes()
    os.utime(source, (0, 0))
    assert http.get(f"/v1/jobs/{done['job']}/inputs/0").status_code == 404


def test_only_what_a_job_has_can_be_reached(http: httpx.Client, waiting: dict[str, Any], serving: Serving) -> None:
    job = f"/v1/jobs/{waiting['job']}"
    names = (
        "0-stabilized.mp4",
        "%2e%2e",
        "%2e%2e%2f%2e%2e%2ftoken",
        "..%2f..%2ftoken",
        "%2fetc%2fpasswd",
        "wish.json",
    )
    names += ("0-..%5c..", "%00", "0-stabilized.mp4%00", "%ff%fe", "x" * 3000)
    for name in names:
        for kind in ("outputs", "inputs"):
            answer = http.get(f"{job}/{kind}/{name}")
            assert answer.status_code in (404, 422, 405), (kind, name, answer.text[:200])
            assert serving.token not in answer.text
    for index in ("10", "1000000"):
        assert http.get(f"{job}/inputs/{index}").status_code == 404
    for index in ("-1", "1e3", "9" * 5000, "0x0", "0.5"):
        assert http.get(f"{job}/inputs/{index}").status_code == 422
    for job in ("0" * 12, "%2e%2e", "0123456789AB", "%00" * 12, waiting["job"][:-1], waiting["job"] + "0", "x" * 3000):
        assert http.get(f"/v1/jobs/{job}/inputs/0").status_code == 404


def test_nothing_runs_in_a_browser(http: httpx.Client, waiting: dict[str, Any]) -> None:
    shown = {"notes.txt": "text/plain; charset=utf-8", "clip.mkv": "video/x-matroska", "clip.mp4": "video/mp4"}
    for item in waiting["items"]:
        answer = http.get(f"/v1/jobs/{waiting['job']}/inputs/{item['index']}")
        assert answer.content == NOISE
        how = answer.headers["Content-Disposition"].split(";")[0]
        kind = shown.get(item["name"])
        assert (how, answer.headers["Content-Type"]) == (
            ("inline", kind) if kind else ("attachment", "application/octet-stream")
        )
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_was_typed_is_served_from_where_it_is(http: httpx.Client, tmp_path: Path) -> None:
    from tests.services.typed import stabilize

    odd = clip(tmp_path / "clip.mp4", 0.2).rename(os.fsdecode(bytes(tmp_path) + b"/\xff.mp4"))
    typed = stabilize(tmp_path, odd, "--json")
    assert typed.code == 0, typed.err
    job = json.loads(typed.out)["job"]
    told = http.get(f"/v1/jobs/{job}").json()
    [made] = told["items"][0]["outputs"]
    assert (told["items"][0]["name"], made["file"]) == ("\\xff.mp4", "\\xff.stabilized.mp4")
    assert (
        http.get(f"/v1/jobs/{job}/outputs/{made['name']}").content
        == odd.with_stem(f"{odd.stem}.stabilized").read_bytes()
    )
    assert http.get(f"/v1/jobs/{job}/inputs/0").content == odd.read_bytes()
    assert http.get(f"/v1/jobs/{job}/receipt").json()["job"] == job
    assert http.get("/v1/jobs").json()["jobs"][0]["first"] == "\\xff.mp4"
    assert http.delete(f"/v1/jobs/{job}").json()["did"] == "removed"
    assert odd.with_stem(f"{odd.stem}.stabilized").is_file() and odd.is_file()
