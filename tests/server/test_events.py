"""Jobs as they change: whoever listens hears the latest, soon, and loses nothing by losing the connection."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from broker import settings
from broker.broker import Broker
from broker.job import Job, State
from broker.ledger import Ledger
from broker.stop import Stop
from server import watcher as watching
from server.access import Access
from server.desk import Desk
from server.listeners import KEPT, LATEST, Listener, Listeners, News
from server.routes import events
from server.watcher import Watcher
from tests.broker import jobs
from tests.server.serving import Serving

HANGS = 60.0


@dataclass(frozen=True)
class Event:
    kind: str
    id: str
    data: dict[str, Any]


def told(lines: Iterator[str]) -> Iterator[Event]:
    """The events of a stream, as its specification has them read; comments and such are passed over."""
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line:
            found[name] = value
        elif found.get("event") == "still":
            found = {}
        elif "data" in found:
            yield Event(found["event"], found.get("id", ""), json.loads(found["data"]))
            found = {}
        else:
            found = {}


@contextmanager
def listening(http: httpx.Client, job: str | None, since: str = "") -> Iterator[Iterator[Event]]:
    path = f"/v1/jobs/{job}/events" if job else "/v1/events"
    with http.stream("GET", path, headers={"Last-Event-ID": since} if since else {}) as stream:
        assert stream.status_code == 200, stream.read()
        assert stream.headers["content-type"].startswith("text/event-stream")
        yield told(stream.iter_lines())


def submitted(broker: Broker, folder: Path, *contents: bytes) -> Job:
    """A job that nobody drives: what is new of it is what the test does."""
    return broker.submit(jobs.request(folder, *(contents or (b"work",))))


def begun(broker: Broker, job: Job) -> Ledger:
    ledger = jobs.ledger(broker.journal, job.id)
    ledger.advance(State.RUNNING)
    return ledger


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + HANGS
    while not true():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.01)


# Over HTTP


def test_a_job_from_now_to_its_end(serving: Serving, broker: Broker, tmp_path: Path) -> None:
    job = submitted(broker, tmp_path / "media")
    with serving.http() as http, listening(http, job.id) as stream:
        now = next(stream)
        assert (now.kind, now.data["job"], now.data["state"]) == ("job", job.id, "interrupted")
        assert now.id == now.data["revision"]
        ledger = begun(broker, job)
        ledger.note_progress(0, 0.25)
        assert next(one for one in stream if one.data["progress"] == 0.25).data["over"] is False
        ledger.advance(State.CANCELLED, "cancelled", 130)
        *_, last = stream
        assert (last.data["state"], last.data["over"]) == ("cancelled", True)
        with listening(http, job.id) as again:  # it is over, and told once more
            assert [one.id for one in again] == [last.id]
        with listening(http, job.id, last.id) as again:
            assert list(again) == []


def test_who_comes_back_is_told_what_is_new_alone(serving: Serving, broker: Broker, tmp_path: Path) -> None:
    job = submitted(broker, tmp_path / "media")
    ledger = begun(broker, job)
    with serving.http() as http:
        with listening(http, job.id) as stream:
            known = next(stream).id
        with listening(http, job.id, known) as stream:
            time.sleep(0.3)  # whatever is told at once would come now
            ledger.note_progress(0, 0.5)
            assert next(stream).data["progress"] == 0.5
        ledger.note_progress(0, 0.75)
        with listening(http, job.id, known) as stream:
            assert next(stream).data["progress"] == 0.75


def test_a_state_that_is_as_before_is_told_too(serving: Serving, broker: Broker, tmp_path: Path) -> None:
    job = submitted(broker, tmp_path / "media")
    ledger = begun(broker, job)
    with serving.http() as http:
        with listening(http, job.id) as stream:
            known = next(stream).id
        with listening(http, job.id, known) as stream:
            ledger.note_progress(0, 0.5)
            assert next(stream).data["progress"] == 0.5
            ledger.note_progress(0, 0.0)
            assert next(stream).id == known


def test_a_job_that_is_removed(serving: Serving, broker: Broker, tmp_path: Path) -> None:
    alone, among = (submitted(broker, tmp_path / name) for name in ("alone", "among"))
    with serving.http() as http, listening(http, None) as everything, listening(http, alone.id) as stream:
        assert next(stream).data["job"] == alone.id
        assert {next(everything).data["job"] for _ in range(2)} == {alone.id, among.id}
        for job in (alone, among):
            broker.remove(job)
            gone = Event("gone", "", {"job": job.id})
            assert next(one for one in everything if one.kind != "job") == gone
        *_, last = stream
        assert last == Event("gone", "", {"job": alone.id})
        assert http.get(f"/v1/jobs/{alone.id}/events").status_code == 404


def test_no_such_job_is_told_before_anything_is_streamed(serving: Serving) -> None:
    with serving.http() as http:
        for job in ("0" * 8, "%00", "a%2Fb", "%ff", "'", "x" * 5000):
            assert http.get(f"/v1/jobs/{job}/events").status_code == 404


def test_the_apis_description_tells_of_the_streams(serving: Serving) -> None:
    with serving.http() as http:
        told = http.get("/openapi.json").json()
    for path in ("/v1/events", "/v1/jobs/{job}/events"):
        item = told["paths"][path]["get"]["responses"]["200"]["content"]["text/event-stream"]["itemSchema"]
        job, gone = item["properties"]["data"]["contentSchema"]["anyOf"]
        assert "revision" in told["components"]["schemas"][job["$ref"].rpartition("/")[2]]["properties"]
        assert list(gone["properties"]) == ["job"]


def test_all_jobs_the_open_and_the_latest_first(serving: Serving, broker: Broker, tmp_path: Path) -> None:
    made = [submitted(broker, tmp_path / f"media{number}") for number in range(LATEST + 3)]
    for job in made[1:]:
        begun(broker, job).advance(State.CANCELLED, "cancelled", 130)
    with serving.http() as http, listening(http, None) as stream:
        expected = {made[0].id, *(job.id for job in made[-LATEST:])}
        assert {next(stream).data["job"] for _ in expected} == expected
        with listening(http, None) as second:  # from what the first was told
            assert {next(second).data["job"] for _ in expected} == expected
        new = submitted(broker, tmp_path / "new")
        assert next(stream).data["job"] == new.id
        ledger = begun(broker, made[0])
        ledger.note_progress(0, 0.5)
        next(one for one in stream if one.data["job"] == made[0].id and one.data["progress"] == 0.5)
        ledger.advance(State.CANCELLED, "cancelled", 130)
        next(one for one in stream if one.data["job"] == made[0].id and one.data["over"])


def test_the_server_is_killed_while_a_client_listens(serving: Serving, broker: Broker, tmp_path: Path) -> None:
    job = submitted(broker, tmp_path / "media")
    ledger, seen = begun(broker, job), list[Event]()

    def listen() -> None:
        while not (seen and seen[-1].data["over"]):
            try:
                with serving.http() as http, listening(http, job.id, seen[-1].id if seen else "") as stream:
                    seen.extend(stream)
            except httpx.TransportError:
                time.sleep(0.05)

    client = threading.Thread(target=listen)
    client.start()
    until(lambda: seen, "the first event")
    serving.kill()
    ledger.note_progress(0, 0.5)
    serving.start()
    until(lambda: seen[-1].data["progress"] == 0.5, "what happened meanwhile")
    serving.kill()
    ledger.advance(State.CANCELLED, "cancelled", 130)
    serving.start()
    client.join(HANGS)
    assert seen[-1].data["state"] == "cancelled"
    ids = [one.id for one in seen]
    assert ids == list(dict.fromkeys(ids)), "something was told twice"


def test_a_server_that_is_asked_to_end_does_so_while_clients_listen(
    serving: Serving, broker: Broker, tmp_path: Path
) -> None:
    job = submitted(broker, tmp_path / "media")
    with serving.http() as http, listening(http, job.id) as stream, listening(http, None) as everything:
        next(stream), next(everything)
        assert serving.stop(signal.SIGTERM) == 130
        assert [*stream, *everything] == []  # they end, and are not cut off
    assert "Traceback" not in serving.log.read_text()


def test_a_client_that_does_not_read_holds_nobody_up_and_hears_the_end(
    serving: Serving, broker: Broker, tmp_path: Path
) -> None:
    job = submitted(broker, tmp_path / "media")
    ledger, long = begun(broker, job), "x" * 400_000
    with slow(serving.port, serving.token, job.id) as asleep, serving.http() as http, listening(http, job.id) as stream:
        for number in range(40):  # in all more than is held anywhere on the way
            ledger.fail_item(0, "failed", f"{number}{long}")
            next(one for one in stream if one.data["items"][0]["error"] == f"{number}{long}")
        ledger.advance(State.CANCELLED, "cancelled", 130)
        *_, last = stream
        asleep.settimeout(HANGS)
        received = b"".join(iter(lambda: asleep.recv(2**16), b"")).decode()
    found = [line for line in received.splitlines() if line.startswith("id: ")]
    assert found[-1] == f"id: {last.id}"
    assert len(found) < 40, "nothing was passed over for a client that does not read"


@contextmanager
def slow(port: int, token: str, job: str) -> Iterator[socket.socket]:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        asked = f"GET /v1/jobs/{job}/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n"
        client.sendall(f"{asked}Authorization: Bearer {token}\r\n\r\n".encode())
        yield client


# In this process: what it costs, and what is left


@contextmanager
def served(desk: Desk) -> Iterator[str]:
    """The event routes alone, at the address that is yielded."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with desk.watcher.open():
            yield

    app = FastAPI(lifespan=lifespan)
    app.state.desk = desk
    app.include_router(events.router)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started, "the server")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def desk() -> Desk:
    return Desk(settings.load(), Access("0" * 40), 1)


def test_a_client_that_goes_is_forgotten(desk: Desk, broker: Broker, tmp_path: Path) -> None:
    job = submitted(broker, tmp_path / "media")
    with served(desk) as url, httpx.Client(base_url=url, trust_env=False, timeout=HANGS) as http:
        with listening(http, job.id) as stream, listening(http, None) as everything:
            next(stream), next(everything)
            assert len(desk.watcher.listeners) == 2
        until(lambda: len(desk.watcher.listeners) == 0, "they are forgotten")
        assert desk.watcher.listeners.wanted() == (set(), {})


def test_a_client_that_goes_with_much_on_the_way_is_forgotten(desk: Desk, broker: Broker, tmp_path: Path) -> None:
    job = submitted(broker, tmp_path / "media")
    ledger, long = begun(broker, job), "x" * 400_000
    with served(desk) as url, httpx.Client(base_url=url, trust_env=False, timeout=HANGS) as http:
        with slow(httpx.URL(url).port or 0, "", job.id), listening(http, job.id) as stream:
            for number in range(40):
                ledger.fail_item(0, "failed", f"{number}{long}")
                next(one for one in stream if one.data["items"][0]["error"] == f"{number}{long}")
            assert len(desk.watcher.listeners) == 2
        until(lambda: len(desk.watcher.listeners) == 0, "they are forgotten")


def test_a_stream_says_now_and_then_that_it_is_alive(
    desk: Desk, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert events.STILL_SECONDS == 15.0
    monkeypatch.setattr(events, "STILL_SECONDS", 0.05)
    job = submitted(broker, tmp_path / "media")
    path = f"/v1/jobs/{job.id}/events"
    with served(desk) as url, httpx.stream("GET", f"{url}{path}", trust_env=False, timeout=HANGS) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 1000"
        assert next(line for line in lines if line == "event: still") and next(lines).rstrip() == "data:"
        begun(broker, job).note_progress(0, 0.5)
        assert next(one for one in told(lines) if one.data["progress"] == 0.5)


def test_many_who_listen_cost_one_look(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, looks = submitted(broker, tmp_path / "media"), list[str]()
    ledger, real = begun(broker, job), watching.snapshot

    def counted(broker: Broker, job: str) -> Any:
        looks.append(job)
        return real(broker, job)

    monkeypatch.setattr(watching, "snapshot", counted)
    monkeypatch.setattr(watching, "DRIVEN_SECONDS", HANGS)

    async def all_hear() -> None:
        watcher = Watcher(settings.load())
        with watcher.open():
            streams = [watcher.job(job.id) for _ in range(200)]
            assert len({(await anext(stream)).revision for stream in streams}) == 1
            looks.clear()
            ledger.note_progress(0, 0.5)
            assert {json.loads((await anext(stream)).data)["progress"] for stream in streams} == {0.5}
            assert len(looks) < 10
            await asyncio.sleep(0.3)
            looks.clear()
            await asyncio.sleep(0.5)
            assert looks == [], "nothing is new, and somebody looks"
            for stream in streams:
                await stream.aclose()

    asyncio.run(all_hear())


def test_that_its_driver_died_is_told_although_nobody_wrote_it_down(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "REOPEN_SECONDS", 10 * HANGS)
    job = submitted(broker, tmp_path / "media")

    async def hear() -> None:
        watcher = Watcher(settings.load())
        with watcher.open():
            async with asyncio.timeout(HANGS), aclosing(watcher.job(job.id)) as stream:
                with broker.driving(job, Stop()):
                    while json.loads((await anext(stream)).data)["state"] != "queued":
                        continue
                assert json.loads((await anext(stream)).data)["state"] == "interrupted"

    asyncio.run(hear())


def test_nobody_listens_and_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    opened, real = list[str](), watching.Broker

    def counted(config: settings.Settings) -> Broker:
        opened.append("opened")
        return real(config)

    monkeypatch.setattr(watching, "Broker", counted)

    async def wait() -> None:
        with Watcher(settings.load()).open():
            await asyncio.sleep(0.5)
            assert opened == []

    asyncio.run(wait())


def test_of_many_that_wait_each_has_its_turn(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "TURN_SECONDS", 0.002)
    monkeypatch.setattr(watching, "DRIVEN_SECONDS", HANGS)
    asked = jobs.request(tmp_path / "media", b"work")
    [entry] = asked.inputs
    made = {
        broker.submit(replace(asked, inputs=(replace(entry, outputs={"worked.bin": tmp_path / f"{number}.bin"}),))).id
        for number in range(100)
    }

    async def hear_all() -> None:
        watcher = Watcher(settings.load())
        with watcher.open():
            for _ in range(2):  # who comes when all have gone hears all of it, too
                heard = set[str]()
                async with asyncio.timeout(HANGS), aclosing(watcher.everything()) as stream:
                    while heard != made:
                        heard.add((await anext(stream)).job)

    asyncio.run(hear_all())


def test_a_journal_that_cannot_be_used_for_a_while_ends_no_stream(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "DRIVEN_SECONDS", 0.05)
    job, broke, real = submitted(broker, tmp_path / "media"), list[str](), watching.snapshot
    ledger = begun(broker, job)

    def breaking(broker: Broker, job: str) -> Any:
        if len(broke) < 2:
            broke.append(job)
            raise OSError("the disk does not answer")
        return real(broker, job)

    monkeypatch.setattr(watching, "snapshot", breaking)

    async def hear() -> float:
        watcher = Watcher(settings.load())
        with watcher.open():
            stream = watcher.job(job.id)
            await anext(stream)
            ledger.note_progress(0, 0.5)
            return json.loads((await anext(stream)).data)["progress"]

    assert asyncio.run(hear()) == 0.5
    assert len(broke) == 2


def test_a_journal_in_place_of_a_damaged_one_is_noticed_and_told_of(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "REOPEN_SECONDS", 10 * HANGS)
    lost, file = submitted(broker, tmp_path / "media"), settings.load().journal
    begun(broker, lost).advance(State.CANCELLED, "cancelled", 130)
    broker._backups.drop(lost.id)  # as its driver does
    desk = Desk(settings.load(), Access("0" * 40), 1)

    async def hear() -> News:
        with desk.watcher.open():
            stream = desk.watcher.everything()
            assert (await anext(stream)).job == lost.id
            broker.journal.close()
            (noise := tmp_path / "noise").write_bytes(b"noise" * 1000)
            noise.replace(file)  # who has the old one open sees nothing of it
            for tail in ("-wal", "-shm"):
                file.with_name(file.name + tail).unlink(missing_ok=True)
            for _ in range(2):
                with desk.broker() as after:
                    assert after.journal.jobs() == []
            return await asyncio.wait_for(anext(stream), HANGS)

    told = asyncio.run(hear())
    assert (told.job, told.gone) == (lost.id, True)
    [said] = [one.message for one in caplog.records if "a new one has been begun" in one.message]
    [aside] = file.parent.glob(f"{file.stem}-damaged-*.sqlite3")
    assert str(aside) in said


# Listeners


def news(job: str, revision: str = "1", over: bool = False) -> News:
    return News(job, revision, "{}", over)


def test_what_waits_for_a_listener_is_the_latest_alone() -> None:
    async def hear() -> list[str]:
        listener = Listener(None)
        for revision in "123":
            listener.hear(news("a", revision))
            listener.hear(news("b", revision))
        listener.end()
        found = [await listener.next() for _ in range(3)]
        return [one.job + one.revision if one else "end" for one in found]

    assert asyncio.run(hear()) == ["a3", "b3", "end"]


def test_what_is_remembered_of_jobs_that_are_over_does_not_grow() -> None:
    async def remember() -> int:
        listeners = Listeners()
        listeners.loop = asyncio.get_running_loop()
        listeners.add(Listener(None))
        listeners.tell([news("open")])
        for number in range(KEPT + 100):
            listeners.tell([news(str(number), over=True)])
        _, kept = listeners.wanted()
        assert "open" in kept
        assert str(KEPT + 99) in kept
        return len(kept)

    assert asyncio.run(remember()) == KEPT + 1
