"""The Python client, against the real server: also one that is killed in the middle, and started again."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker import settings
from broker.broker import Broker
from broker.errors import ConfigError, InputError, IntegrityError, NoTarget, UsageError
from broker.job import Job
from server import schemas, transfers, wire, wishes
from server.client import Client, ClientError
from tests import fakework, media
from tests.broker import jobs
from tests.server.serving import Serving


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    with serving.client() as opened:
        yield opened


@contextmanager
def driven(job: Job) -> Iterator[None]:
    """Somebody else sees the job through meanwhile: the server only tells of it."""

    def drive() -> None:
        with Broker(settings.load()) as broker:
            jobs.drive(broker, job)

    thread = threading.Thread(target=drive)
    thread.start()
    yield
    thread.join()


def done(broker: Broker, folder: Path, **choices: Any) -> schemas.Output:
    """An output of a job that is done."""
    job = broker.submit(jobs.request(folder, b"data", **choices))
    jobs.drive(broker, job)
    output = broker.journal.job(job.id).items[0].outputs[0]
    return schemas.Output(
        name=f"0-{output.name}", file=output.dest.name, kind="", size=output.size or 0, sha256=output.sha256 or ""
    )


def holding(path: Path, content: bytes = b"content") -> Path:
    path.write_bytes(content)
    return path


def test_a_job_from_a_file_to_its_output(client: Client, tmp_path: Path) -> None:
    """What a program does: submit, follow, fetch."""
    clip = media.clip(tmp_path / "clip.mp4")
    plan = client.plan("stabilize", [clip], {"smoothing": 5})
    assert [place.target for place in plan.targets] == ["local"] and plan.targets[0].reason
    job = client.submit("stabilize", [clip], {"smoothing": 5}, priority=3)
    assert (job.service, job.over, job.items[0].name, job.params["smoothing"]) == ("stabilize", False, "clip.mp4", 5)
    told = list(client.events(job.job))
    assert [one.over for one in told] == [False] * (len(told) - 1) + [True]
    assert (told[-1].state, told[-1].progress) == ("done", 1.0)
    assert client.wait(job.job) == told[-1] == client.job(job.job)
    [output] = told[-1].items[0].outputs
    made = client.download(told[-1], output, tmp_path / "made.mp4")
    assert hashlib.sha256(made.read_bytes()).hexdigest() == output.sha256
    assert client.receipt(job.job)["job"] == job.job
    assert "local" in client.log(job.job)
    assert [row.job for row in client.jobs(service="stabilize").jobs] == [job.job]
    assert client.remove(job.job).did == "removed"
    with pytest.raises(ClientError, match="no job") as refused:
        client.job(job.job)
    assert refused.value.status == 404


def test_what_there_is(client: Client) -> None:
    assert "stabilize" in {service.name for service in client.services()}
    assert [target.name for target in client.targets()] == ["local"]
    assert {model.service for model in client.models("tag")} == {"tag"}
    assert client.test("local").target == "local"
    assert client.health().open_jobs == 0
    assert client.search("a dog").moments == []
    assert "#code=" in client.link()


def test_a_refusal_has_the_servers_words(client: Client, tmp_path: Path) -> None:
    clip = holding(tmp_path / "clip.mp4")
    with pytest.raises(ClientError, match="no service 'nothing'") as refused:
        client.submit("nothing", [clip])
    assert (refused.value.status, refused.value.exit_code) == (422, UsageError.exit_code)
    with pytest.raises(ClientError, match="smoothing") as refused:
        client.plan("stabilize", [clip], {"smoothing": -7})
    assert refused.value.exit_code == UsageError.exit_code
    with pytest.raises(ClientError, match="no file") as refused:
        client.submit("stabilize", [wishes.Upload(blob="0" * 64, name="clip.mp4")])
    assert refused.value.hint and refused.value.exit_code == InputError.exit_code
    with pytest.raises(ClientError) as refused:
        client.submit("stabilize", [wishes.Local(path=str(clip))])
    assert refused.value.status in (403, 409, 422)


def test_what_makes_no_sense_is_not_sent(client: Client, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        client.submit("stabilize", [tmp_path / "nothing.mp4"])
    with pytest.raises(InputError, match="Is a directory"):
        client.plan("stabilize", [tmp_path])
    with pytest.raises(ValueError, match="colour"):
        client.submit("stabilize", [holding(tmp_path / "clip.mp4")], colour="red")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_is_refused_and_never_the_default(client: Client, tmp_path: Path, number: float) -> None:
    clip = holding(tmp_path / "clip.mp4")
    for ask in (client.submit, client.plan):
        with pytest.raises(ClientError, match="no number") as refused:
            ask("stabilize", [clip], {"smoothing": number})
        assert (refused.value.status, refused.value.exit_code) == (422, UsageError.exit_code)
    assert client.jobs().jobs == []


@pytest.mark.parametrize("word", ["a\nb", "\u00e9", " a", "a\0"])
def test_what_no_header_can_carry_is_told_at_once(word: str) -> None:
    with Client("http://127.0.0.1:1", "x" * 43) as client, pytest.raises(ClientError, match="the key") as refused:
        client.submit("stabilize", [wishes.Local(path="/clip.mp4")], key=word)
    assert (refused.value.status, refused.value.exit_code) == (None, UsageError.exit_code)
    with pytest.raises(ClientError, match="the token"):
        Client("http://127.0.0.1:1", word)


def test_a_wrong_token_is_told(serving: Serving) -> None:
    with Client(serving.url, "x" * 43) as client, pytest.raises(ClientError, match="token") as refused:
        client.health()
    assert (refused.value.status, refused.value.exit_code) == (401, ConfigError.exit_code)


def test_a_job_that_there_is_not_is_told_as_on_the_command_line(client: Client, broker: Broker) -> None:
    with pytest.raises(UsageError) as here:
        broker.find("nope")
    with pytest.raises(ClientError) as there:
        client.job("nope")
    assert (str(there.value), there.value.exit_code) == (str(here.value), UsageError.exit_code)


class Lossy(httpx.HTTPTransport):
    """Loses the first answer to a request: the server did what was asked, and nobody heard of it."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__()
        self.asked, self.lost = (method, path), 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if (request.method, request.url.path) == self.asked and not self.lost:
            self.lost += 1
            answer.read()
            answer.close()
            raise httpx.ReadError("lost")
        return answer


def losing(client: Client, method: str, path: str) -> Lossy:
    lossy = client._wire.http._transport = Lossy(method, path)
    return lossy


def test_one_job_is_made_though_the_answer_is_lost(client: Client, tmp_path: Path) -> None:
    lossy = losing(client, "POST", "/v1/jobs")
    job = client.submit("stabilize", [media.clip(tmp_path / "clip.mp4")])
    assert lossy.lost == 1
    assert [row.job for row in client.jobs().jobs] == [job.job]


def test_the_same_key_finds_the_same_job(client: Client, tmp_path: Path) -> None:
    clip = media.clip(tmp_path / "clip.mp4")
    first = client.submit("stabilize", [clip], key="mine")
    assert client.submit("stabilize", [clip], key="mine").job == first.job
    assert client.submit("stabilize", [clip], key="another").job != first.job


def test_a_job_is_not_removed_for_an_answer_that_is_lost(client: Client, broker: Broker, tmp_path: Path) -> None:
    """The same request again would mean something else."""
    job = broker.submit(jobs.request(tmp_path / "work", b"a"))
    lossy = losing(client, "DELETE", f"/v1/jobs/{job.id}")
    with pytest.raises(ClientError, match="lost"):
        client.cancel(job.id)
    assert lossy.lost == 1 and client.job(job.id).state == "cancelled"


def test_cancelled_and_tried_again(client: Client, broker: Broker, tmp_path: Path) -> None:
    job = broker.submit(jobs.request(tmp_path / "work", b"a"))
    assert client.cancel(job.id).did == "cancelled"
    with pytest.raises(ClientError, match="is cancelled already") as refused:
        client.cancel(job.id)
    assert refused.value.exit_code == UsageError.exit_code and client.job(job.id).state == "cancelled"
    assert not client.retry(job.id).over
    assert client.wait(job.id).state == "done"


def test_a_job_that_is_removed_ends_its_events(client: Client, broker: Broker, tmp_path: Path) -> None:
    job = broker.submit(jobs.request(tmp_path / "work", b"a"))
    told = client.events(job.id)
    assert next(told).job == job.id
    broker.remove(job)
    with pytest.raises(ClientError, match=r"was removed|no job"):
        list(told)


# A server that is killed


def restarting(serving: Serving, at: int, ready: Callable[[], bool] = lambda: True) -> Callable[[bytes], bytes]:
    """Passes pieces on; before the one of that number the server is killed, once it is `ready`, and started again."""
    count = 0

    def passed(piece: bytes) -> bytes:
        nonlocal count
        count += 1
        if count == at:
            deadline = time.monotonic() + 60
            while not ready() and time.monotonic() < deadline:
                time.sleep(0.01)
            serving.kill()
            serving.start()
        return piece

    return passed


def test_an_upload_goes_on_where_a_killed_server_had_come(
    serving: Serving, client: Client, tmp_path: Path, offload_dirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = os.urandom(24 * 2**20)
    stored = offload_dirs / "state/server/uploads"
    passed = restarting(serving, 16, lambda: any(file.stat().st_size > 4 * 2**20 for file in stored.glob("*")))
    rest = transfers._rest
    monkeypatch.setattr(transfers, "_rest", lambda file, there: map(passed, rest(file, there)))
    sent = client.upload(holding(tmp_path / "clip.mp4", content))
    assert sent == wishes.Upload(blob=hashlib.sha256(content).hexdigest(), name="clip.mp4")
    assert (offload_dirs / "state/server/blobs" / sent.blob).read_bytes() == content
    with serving.http() as http:
        [line] = [
            one for one in http.get("/metrics").text.splitlines() if 'bytes_total{route="/v1/blobs/{upload}"' in one
        ]
    assert 0 < float(line.rpartition(" ")[2]) <= 20 * 2**20, "what had come was sent again"


def test_what_is_known_is_not_sent(client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.upload(holding(tmp_path / "clip.mp4"))
    monkeypatch.setattr(transfers, "_patch", None)
    assert client.upload(holding(tmp_path / "other.mp4")) == wishes.Upload(blob=first.blob, name="other.mp4")


@pytest.mark.parametrize("size", [0, 1, 2**20, 2**20 + 1])
def test_files_of_any_size(client: Client, offload_dirs: Path, tmp_path: Path, size: int) -> None:
    sent = client.upload(holding(tmp_path / "clip.mp4", content := os.urandom(size)))
    assert (offload_dirs / "state/server/blobs" / sent.blob).read_bytes() == content


def test_a_file_that_changes_while_it_is_sent_is_refused(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = holding(tmp_path / "clip.mp4", b"x" * 5000)
    begun = transfers._begun

    def shrinking(*args: Any) -> schemas.Blob:
        os.truncate(clip, 100)
        return begun(*args)

    monkeypatch.setattr(transfers, "_begun", shrinking)
    with pytest.raises(ClientError) as refused:
        client.upload(clip)
    assert (refused.value.status, refused.value.exit_code) == (460, IntegrityError.exit_code)


def test_odd_names_are_sent(client: Client, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff \xe2\x80\xa8\"'.mp4")
    assert client.upload(holding(odd)).name == "? \u2028\"'.mp4"


def test_events_go_on_after_a_kill(serving: Serving, client: Client, broker: Broker, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.mkdir()
    job = broker.submit(jobs.request(tmp_path / "work", b"a", hold=str(hold)))
    told: list[schemas.Job] = []
    known: list[str] = []
    client._wire.http.event_hooks["request"].append(
        lambda request: known.append(request.headers.get("last-event-id", ""))
    )
    with driven(job):
        for one in client.events(job.id):
            told.append(one)
            if one.attempts and not (hold / "0").exists():
                serving.kill()
                (hold / "0").touch()  # what happens while it is away is told, too
                serving.start()
    assert (told[-1].state, told[-1].progress) == ("done", 1.0)
    revisions = [one.revision for one in told]
    assert known[0] == "" and known[-1] in revisions
    assert len(set(revisions)) == len(revisions), "something was told twice"


def test_a_download_goes_on_after_a_kill(
    serving: Serving, client: Client, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = done(broker, tmp_path / "work", size=40 * 2**20)
    job = client.job(broker.journal.jobs()[0].id)
    dest = tmp_path / "here" / "made.bin"
    dest.parent.mkdir()
    asked: list[str] = []
    client._wire.http.event_hooks["request"].append(lambda request: asked.append(request.headers.get("range", "")))
    seen: list[list[Path]] = []
    passed = restarting(serving, 8, lambda: bool(seen.append([*dest.parent.iterdir()])) or True)
    stream = httpx.Response.iter_raw
    monkeypatch.setattr(httpx.Response, "iter_raw", lambda answer, size=None: map(passed, stream(answer, size)))
    assert client.download(job, output, dest) == dest
    assert dest.read_bytes() == fakework.expected(b"data", 40 * 2**20)
    assert asked[0] == "bytes=0-" and 0 < int(asked[-1][6:-1]) < output.size
    assert dest not in seen[0] and [*dest.parent.iterdir()] == [dest]


def test_a_download_that_was_killed_itself_is_gone_on_with(client: Client, broker: Broker, tmp_path: Path) -> None:
    output = done(broker, tmp_path / "work")
    job = client.job(broker.journal.jobs()[0].id)
    content = fakework.expected(b"data")
    holding(tmp_path / f".{output.sha256[:16]}.part", content[:1000])
    asked: list[str] = []
    client._wire.http.event_hooks["request"].append(lambda request: asked.append(request.headers["range"]))
    assert client.download(job, output, tmp_path / "made.bin").read_bytes() == content
    assert asked == ["bytes=1000-"]


@pytest.mark.parametrize("begun", [b"", b"rubbish"])
def test_what_is_not_right_never_has_its_name(client: Client, broker: Broker, tmp_path: Path, begun: bytes) -> None:
    output = done(broker, tmp_path / "work")
    job = client.job(broker.journal.jobs()[0].id)
    place = tmp_path / "here"
    place.mkdir()
    if begun:
        holding(place / f".{output.sha256[:16]}.part", begun)
    else:
        holding(tmp_path / "work/0.worked.bin", b"x" * output.size)
    with pytest.raises(IntegrityError, match="not what was made"):
        client.download(job, output, place)
    assert [*place.iterdir()] == []


def test_what_is_there_is_not_replaced_unasked(client: Client, broker: Broker, tmp_path: Path) -> None:
    output = done(broker, tmp_path / "work")
    job = client.job(broker.journal.jobs()[0].id)
    mine = holding(tmp_path / output.file, b"mine")
    with pytest.raises(UsageError, match="exists"):
        client.download(job, output, tmp_path)
    assert mine.read_bytes() == b"mine"
    assert client.download(job, output, tmp_path, overwrite=True) == mine
    assert mine.read_bytes() == fakework.expected(b"data")


def test_a_folder_that_is_not_there_is_told(client: Client, broker: Broker, tmp_path: Path) -> None:
    output = done(broker, tmp_path / "media")
    job = client.job(client.jobs().jobs[0].job)
    with pytest.raises(UsageError, match=r"/no/b\.bin cannot be written: No such file") as refused:
        client.download(job, output, tmp_path / "no" / "b.bin")
    assert refused.value.hint


def test_a_name_that_is_taken_meanwhile_stays_with_who_took_it(
    client: Client, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = done(broker, tmp_path / "work")
    job = client.job(broker.journal.jobs()[0].id)
    fetch = transfers._fetch

    def slowly(*args: Any) -> None:
        fetch(*args)
        holding(tmp_path / "made.bin", b"theirs")

    monkeypatch.setattr(transfers, "_fetch", slowly)
    with pytest.raises(UsageError, match="exists"):
        client.download(job, output, tmp_path / "made.bin")
    assert (tmp_path / "made.bin").read_bytes() == b"theirs"


# A server that is away


def test_the_one_that_runs_here_is_found(serving: Serving) -> None:
    with Client.here() as client:
        assert client.health().open_jobs == 0
    serving.kill()
    with pytest.raises(NoTarget, match="no server runs") as refused:
        Client.here()
    assert refused.value.hint == "offload serve"


def test_patience_has_an_end(serving: Serving) -> None:
    with Client(serving.url, serving.token, patience=0.3) as client:
        serving.kill()
        for ask in (client.health, lambda: list(client.events("0" * 12)), lambda: client.cancel("0" * 12)):
            with pytest.raises(ClientError, match="cannot be reached") as refused:
                ask()
            assert (refused.value.exit_code, refused.value.hint, refused.value.status) == (5, "offload serve", None)


def test_a_stranger_who_takes_the_port_hears_no_token(serving: Serving) -> None:
    with Client.here(patience=0.5) as client:
        assert client.health()
        serving.kill()
        with socket.create_server(("127.0.0.1", serving.port)) as stranger:
            stranger.settimeout(0.0)
            with pytest.raises(ClientError, match="does not run"):
                client.health()
            try:
                heard = stranger.accept()[0].recv(1000)
            except BlockingIOError:  # nobody came
                heard = b""
    assert heard == b""


# Events, as they are written


def test_events_are_read_as_they_come() -> None:
    data = json.dumps({"name": "two\u2028lines\x0b\x85"}, ensure_ascii=False)
    text = f"retry: 1000\n\n: hello\n\nevent: job\nid: a1\ndata: {data}\n\n:\n\ndata:bare\r\n\r\nid: late\n\n"
    text += "event: gone\ndata: {}\n\n"
    want = [("job", "a1", data), ("message", "", "bare"), ("gone", "", "{}")]
    raw = text.encode()
    for size in (1, 2, 7, len(raw)):
        pieces = [raw[start : start + size] for start in range(0, len(raw), size)]
        assert list(wire.events(pieces)) == want
    assert list(wire.events([b"data: cut off"])) == []


def test_what_says_only_that_the_server_is_alive_is_no_job(client: Client, broker: Broker, tmp_path: Path) -> None:
    done(broker, tmp_path / "work")
    told = client.job(client.jobs().jobs[0].job)
    stream = f"event: still\ndata: \n\nevent: job\nid: {told.revision}\ndata: {told.model_dump_json()}\n\n"
    answers = httpx.MockTransport(lambda request: httpx.Response(200, stream=httpx.ByteStream(stream.encode())))
    with Client("http://127.0.0.1:1", "none") as quiet:
        quiet._wire.http = httpx.Client(base_url="http://127.0.0.1:1", transport=answers)
        assert list(quiet.events(told.job)) == [told]
