"""Search over HTTP: the moments that the command finds, with the job whose input shows each, and nobody asked."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from broker import settings
from broker.broker import Broker
from broker.models import lock, store
from broker.models.pin import File, Pin
from server import schemas
from server.routes import search
from services.base import moments
from tests import media
from tests.hub import Hub, home, hub, sha256
from tests.offload.background import until
from tests.offload.test_search import QUICK, tag, told
from tests.server.asking import end_all
from tests.server.serving import Serving
from tests.services import everywhere
from tests.services.conftest import here
from tests.services.typed import PYTHON, fake, offload, type_

__all__ = ["here", "home", "hub"]  # fixtures


SENSELESS: list[tuple[dict[str, Any], str]] = [
    ({}, "text"),
    ({"text": " \n"}, "text"),
    ({"text": "x" * 1001}, "text"),
    ({"text": "a dog", "top": 0}, "top"),
    ({"text": "a dog", "top": "1e9"}, "top"),
    ({"text": "a dog", "model": "/etc/passwd"}, "no such model"),
    ({"text": "a dog", "model": "owner/name"}, "no such model"),
    ({"text": "a dog", "model": "base"}, "no such model"),
]


def find(serving: Serving, **query: Any) -> tuple[int, Any]:
    with serving.http() as http:
        answer = http.get("/v1/search", params=query)
    return answer.status_code, answer.json()


def test_moments_are_those_of_the_command_each_with_its_job(here: Path, serving: Serving) -> None:
    media.clip(here / "clip.mp4", 3, rate=5, sound=False)
    media.ffmpeg("-f", "lavfi", "-i", "color=red:s=64x48", "-frames:v", "1", here / "photo.png")
    shutil.copy(here / "photo.png", here / "gone.png")
    model = everywhere.model(everywhere.TAG)
    typed = (PYTHON, "-m", "services.tag", "gone.png", "photo.png", "clip.mp4", "--model", model, "--json")
    said = type_(typed, here, QUICK)
    assert said.code == 0, said.err
    job = said.document["job"]
    (here / "gone.png").unlink()
    status, found = find(serving, text="happy people on a beach", top=3)
    assert status == 200, found
    assert found["left_out"] == ["left out, since the clips or their tags are gone: gone.png"]
    names = {1: "photo.png", 2: "clip.mp4"}
    assert all(
        (one["job"], one["name"], one["viewable"]) == (job, names[one["item"]], True) for one in found["moments"]
    )
    typed = offload(here, "search", "happy people on a beach", "--top", "3", "--json", env=QUICK)
    keys = ("seconds", "score")
    assert [[one[key] for key in keys] for one in found["moments"]] == [
        [one[key] for key in keys] for one in typed.document
    ]
    assert [one["service"] for one in offload(here, "jobs", "ls", "--json").document] == ["tag"]


def test_nothing_tagged_yet_is_an_answer_and_what_makes_no_sense_is_named(serving: Serving) -> None:
    assert find(serving, text="a dog") == (200, {"moments": [], "left_out": [moments.NOTHING]})
    for query, named in SENSELESS:
        status, problem = find(serving, **query)
        assert status == 422, query
        assert named in problem["detail"], query


def test_a_model_that_is_not_here_is_named_and_nobody_is_asked_for_it(
    hub: Hub, here: Path, tmp_path: Path, serving: Serving
) -> None:
    (here / "a.png").write_bytes(b"a picture")
    with Broker(settings.load()) as broker:
        tag(broker, tmp_path, here / "a.png", here / "a.tags.json", told())
    asked = len(hub.asked)
    status, problem = find(serving, text="a \0 dog")
    assert (status, problem["exit_code"]) == (424, 4)
    assert "test/none" in problem["detail"]
    assert problem["hint"] == "offload models prefetch test/none"
    assert len(hub.asked) == asked


def test_who_leaves_is_searched_for_no_more(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a job that takes the machine's only place."""
    monkeypatch.setenv("OFFLOAD_LOCAL_JOBS", "1")
    config = settings.load()
    content = b"weights"
    store.folder(config).mkdir(parents=True)
    (store.folder(config) / sha256(content)).write_bytes(content)
    lock.add(config, Pin("hf:test/none", "none", "", (File("weights", sha256(content), len(content)),)))
    (here / "a.png").write_bytes(b"a picture")
    with Broker(config) as broker, Serving(tmp_path) as serving:
        tag(broker, tmp_path, here / "a.png", here / "a.tags.json", told())
        (here / "a.dat").write_bytes(b"some work")
        busy = fake(here, "--seconds", "600", "--detach", "a.dat").lines[0]
        until(lambda: broker.journal.attempts(busy), "the work that is in the way")
        with socket.create_connection(("127.0.0.1", serving.port)) as connection:
            host = f"127.0.0.1:{serving.port}"
            words = f"GET /v1/search?text=dog HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {serving.token}\r\n\r\n"
            connection.sendall(words.encode())
            until(lambda: searches(broker), "the search, which waits")
        until(lambda: not searches(broker), "the end of the search")
        end_all()


def searches(broker: Broker) -> list[str]:
    return [job.id for job in broker.journal.jobs() if job.service == "search"]


def test_one_search_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next waits, and takes no thread from what else is asked of the server."""
    lock, most = threading.Lock(), []

    def slow(*asked: Any) -> schemas.Found:
        most.append(lock.acquire(blocking=False))
        time.sleep(0.05)
        lock.release()
        return schemas.Found(moments=[], left_out=[])

    async def several() -> None:
        desk: Any = SimpleNamespace(settings=settings.load())
        request: Any = SimpleNamespace(receive=asyncio.Event().wait)
        await asyncio.gather(*(search.search(request, desk, "a dog") for _ in range(5)))

    monkeypatch.setattr(search, "_found", slow)
    asyncio.run(several())
    assert most == [True] * 5
