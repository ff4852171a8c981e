"""Speech over HTTP: OpenAI's own client is told the text in every format, and a sentence for what cannot be done."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest

from broker import settings
from broker.broker import Broker
from broker.errors import Ended, OffloadError
from broker.job import State
from broker.models import catalogue, lock, store
from broker.models.pin import File, Pin
from broker.staging import file_sha256
from server import snapshots, speech
from server.problems import Refusal
from server.routes import audio
from server.speech import SEGMENT, SURENESS
from tests.broker import jobs as a_job
from tests.remote_scripts.heard import models, sound
from tests.remote_scripts.test_subtitles import read_srt, read_vtt
from tests.server.asking import no_place
from tests.server.serving import Serving

__all__ = ["models"]  # a fixture

SAID = [(0, 4000, "And so my fellow Americans"), (4000, 11000, "ask not what your country can do for you")]
TEXT = " ".join(said for _, _, said in SAID)
QUICK = "faster-whisper-tiny"
MOST = 3_000_000
SECONDS = 120  # a dead-line, not an expectation


def known(config: settings.Settings, name: str, place: Path) -> None:
    """Have a name of the catalogue mean a model of ours, which is here: as if that had been fetched and pinned."""
    entry = catalogue.find("transcribe", name)
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    store.folder(config).mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copy(file, store.folder(config) / file_sha256(file))
    names = [file.name if place.is_dir() else f"{name}.pt" for file in files]
    pinned = (File(one, file_sha256(file), file.stat().st_size) for one, file in zip(names, files, strict=True))
    lock.add(config, Pin(entry.source, name, "", tuple(pinned)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("audio")


@pytest.fixture(scope="module")
def server(folder: Path, models: Path) -> Iterator[Serving]:
    """A server that asks nobody, and has `base` and `faster-whisper-tiny`: tiny ones, of random weights."""
    env = {
        "OFFLOAD_OFFLINE": "1",
        "OFFLOAD_SERVE_BYTES": f"{MOST}",
        "OFFLOAD_LOCAL_JOBS": "2",
        "OMP_NUM_THREADS": "1",
    }
    for name in ("config", "state", "cache"):
        env[f"OFFLOAD_{name.upper()}_DIR"] = str(folder / name)
    config = settings.load(os.environ | env)
    known(config, "base", models / "tiny.pt")
    known(config, "faster-whisper-tiny", models / "tiny")
    with Serving(folder, env) as started:
        yield started


@pytest.fixture(scope="module")
def talk(folder: Path) -> Path:
    """Twelve seconds of what may be a voice."""
    return sound(folder / "my talk.wav", (12, 0.5))


@pytest.fixture
def client(server: Serving) -> Iterator[openai.OpenAI]:
    """OpenAI's client as anybody has it, but for where it asks. It does not try again: it is seen what it was told."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.token, max_retries=0) as asking:
        yield asking


def ask(server: Serving, content: bytes, name: str = "talk.wav", to: str = "transcriptions", **fields: Any) -> Any:
    """What a bare client is answered."""
    with server.http() as http:
        sent = {"model": QUICK} | fields
        files = {"file": (name, content)}
        return http.post(f"/v1/audio/{to}", data=sent, files=files, timeout=SECONDS)


def jobs(server: Serving) -> list[dict[str, Any]]:
    with server.http() as http:
        found: list[dict[str, Any]] = http.get("/v1/jobs", params={"service": "transcribe"}).json()["jobs"]
    return found


def until(done: Callable[[], Any]) -> Any:
    """Wait for something; returns it."""
    late = time.monotonic() + SECONDS
    while not (found := done()):
        assert time.monotonic() < late
        time.sleep(0.05)
    return found


def voice(folder: Path, seconds: float) -> bytes:
    """A sound that nobody has sent yet, if nobody sent one of that length."""
    return sound(folder / f"{seconds}.wav", (seconds, 0.5)).read_bytes()


# What is told


def test_every_format_is_as_the_client_expects_it_and_one_job_makes_them_all(
    server: Serving, client: openai.OpenAI, talk: Path
) -> None:
    made = {}
    for form in ("json", "text", "srt", "vtt", "verbose_json"):
        with talk.open("rb") as file:
            made[form] = client.audio.transcriptions.create(file=file, model="whisper-1", response_format=form)  # type: ignore[call-overload]
    assert type(made["json"]).__name__ == "Transcription"
    assert made["json"].to_dict() == {"text": TEXT}
    assert made["text"] == f"{TEXT}\n"
    assert read_srt(made["srt"]) == read_vtt(made["vtt"]) == SAID
    verbose = made["verbose_json"]
    assert type(verbose).__name__ == "TranscriptionVerbose"
    assert (verbose.text, verbose.language, verbose.duration, verbose.words) == (TEXT, "german", 12.0, None)
    assert verbose.to_dict().keys() == {"task", "language", "duration", "text", "segments"}
    for number, (segment, (start, end, said)) in enumerate(zip(verbose.segments, SAID, strict=True)):
        assert segment.to_dict().keys() == {*SEGMENT, *SURENESS}
        assert (segment.id, segment.start, segment.end, segment.text) == (number, start / 1000, end / 1000, said)
        assert segment.seek == segment.temperature == 0
        assert all(isinstance(token, int) for token in segment.tokens)
        assert segment.avg_logprob <= 0 < segment.compression_ratio
    assert [(job["first"], job["state"]) for job in jobs(server)] == [("my talk.wav", "done")]


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("json", "application/json"),
        ("verbose_json", "application/json"),
        ("text", "text/plain; charset=utf-8"),
        ("srt", "application/x-subrip; charset=utf-8"),
        ("vtt", "text/vtt; charset=utf-8"),
    ],
)
def test_each_format_has_its_media_type(form: str, kind: str, server: Serving, talk: Path) -> None:
    answer = ask(server, talk.read_bytes(), talk.name, model="whisper-1", response_format=form)
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert answer.headers["offload-job"] in {job["job"] for job in jobs(server)}


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    assert QUICK in [model.id for model in client.models.list()]


def test_words_have_times(client: openai.OpenAI, talk: Path) -> None:
    for grains in (["word"], ["word", "segment"]):
        told: Any = client.audio.transcriptions.create(
            file=talk,
            model=QUICK,
            response_format="verbose_json",
            timestamp_granularities=grains,  # type: ignore[arg-type]
        )
        assert told.words
        assert " ".join(word.word for word in told.words) == TEXT
        times = [at for word in told.words for at in (word.start, word.end)]
        assert times == sorted(times)
        assert 0 <= times[0] < times[-1] <= told.duration
        assert (told.segments is not None) == ("segment" in grains)


@pytest.mark.filterwarnings("ignore:deprecated")  # OpenAI has announced that it will not offer this for ever
def test_a_translation_is_in_english(client: openai.OpenAI, talk: Path) -> None:
    assert client.audio.translations.create(file=talk, model=QUICK).text == TEXT
    told = client.audio.translations.create(file=talk, model=QUICK, response_format="verbose_json")
    assert (told.language, told.to_dict()["task"], told.text) == ("english", "translate", TEXT)  # type: ignore[attr-defined]


def test_any_model_by_its_name_and_bytes_without_one(server: Serving, client: openai.OpenAI, talk: Path) -> None:
    told = client.audio.transcriptions.create(
        file=talk.read_bytes(), model=QUICK, language="de", prompt="Names: Anna.", temperature=0
    )
    assert told.text.endswith(SAID[-1][-1])  # what stands before it moves the text of these models
    (row, *_) = jobs(server)
    with server.http() as http:
        job = http.get(f"/v1/jobs/{row['job']}").json()
    assert {"engine": "faster-whisper", "language": "de", "initial_prompt": "Names: Anna."}.items() <= job[
        "params"
    ].items()
    assert job["items"][0]["name"] == "upload"
    assert "offload transcribe --format=srt,vtt,json --engine=faster-whisper --model=tiny" in job["command"]


def test_silence_has_no_words_and_no_language(server: Serving, folder: Path) -> None:
    silence = sound(folder / "silence.wav", (1, 0)).read_bytes()
    told = ask(server, silence, response_format="verbose_json").json()
    assert (told["text"], told["segments"], told["language"]) == ("", [], "")
    assert ask(server, silence, response_format="vtt").text == "WEBVTT\n"


# What is refused


@pytest.mark.parametrize(
    ("fields", "param", "said"),
    [
        ({"model": ""}, "model", "no model is named"),
        ({"model": ["whisper-1", "base"]}, "model", "2 times"),
        ({"response_format": "diarized_json"}, "response_format", "json, verbose_json, text, srt, vtt"),
        ({"response_format": "doc"}, "response_format", "'doc'"),
        ({"temperature": "0.5"}, "temperature", "can only be 0"),
        ({"temperature": "nan"}, "temperature", "can only be 0"),
        ({"temperature": "warm"}, "temperature", "can only be 0"),
        ({"stream": "true"}, "stream", "cannot be done here"),
        ({"chunking_strategy": '{"type": "server_vad"}'}, "chunking_strategy", "it may be auto"),
        ({"chunking_strategy[type]": "server_vad"}, "chunking_strategy[type]", "cannot be done here"),
        ({"include[]": "logprobs"}, "include[]", "cannot be done here"),
        ({"known_speaker_names[]": "Anna"}, "known_speaker_names[]", "cannot be done here"),
        ({"keywords": "Anna"}, "keywords", "cannot be done here"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities[]", "verbose_json alone"),
        (
            {"timestamp_granularities[]": "letter", "response_format": "verbose_json"},
            "timestamp_granularities[]",
            "word and segment",
        ),
        ({"language": "klingon"}, None, "no such language"),
        ({"prompt": "x" * 2001}, "prompt", "2000 characters"),
        ({"prompt": "nul \0"}, None, ""),
        ({"\ud800".encode("utf-8", "surrogatepass").decode("latin-1"): "1"}, "", "cannot be done here"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    fields: dict[str, Any], param: str | None, said: str, server: Serving, talk: Path
) -> None:
    answer = ask(server, talk.read_bytes(), **fields)
    if said:
        assert answer.status_code == 400, answer.text
        problem = answer.json()
        assert said in problem["detail"]
        assert problem["error"]["message"].startswith(problem["detail"])
        assert problem["error"]["type"] == "invalid_request_error"
        if param != "":
            assert problem["error"]["param"] == param
    else:
        assert answer.status_code < 500


def test_a_model_that_there_is_not_is_not_found(client: openai.OpenAI, talk: Path) -> None:
    for name in ("gpt-4o-transcribe", "/etc/passwd", "owner/name", "https://host/mine.pt", "ViT-B-32", "../base"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.audio.transcriptions.create(file=talk, model=name)
        assert "whisper-1, tiny" in caught.value.message
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_translation_has_no_times_of_words_and_no_model_that_cannot_do_it(server: Serving, talk: Path) -> None:
    grains = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    answer = ask(server, talk.read_bytes(), to="translations", **grains)
    assert (answer.status_code, "translation has no times" in answer.text) == (400, True)
    answer = ask(server, talk.read_bytes(), to="translations", model="turbo")
    assert (answer.status_code, "not taught to translate" in answer.text) == (400, True)


def test_a_model_that_is_not_here_is_named_with_what_fetches_it(client: openai.OpenAI, talk: Path) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.audio.transcriptions.create(file=talk, model="faster-whisper-small")
    assert caught.value.status_code == 424
    assert "offload models prefetch faster-whisper-small" in caught.value.message


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "there is no file"),
        ([("audio", ("a.wav", b"x"))], "sent as the field file"),
        ([("file", ("a.wav", b""))], "the file is empty"),
        ([("file", ("a.wav", b"x")), ("file", ("b.wav", b"y"))], "one at a time"),
        ([("file", (None, b"a.wav"))], "-F file=@NAME"),
    ],
)
def test_there_is_one_file_with_something_in_it(files: Any, said: str, server: Serving) -> None:
    sent = [*files, ("model", (None, b"whisper-1"))]
    with server.http() as http:
        answer = http.post("/v1/audio/transcriptions", files=sent)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_a_text_is_no_sound_and_that_is_said_each_time(client: openai.OpenAI, server: Serving) -> None:
    before = len(jobs(server))
    for _ in range(2):
        with pytest.raises(openai.BadRequestError, match="not a file with sound") as caught:
            client.audio.transcriptions.create(file=("notes.txt", b"not a sound at all\n" * 100), model="whisper-1")
        assert caught.value.response.headers["x-should-retry"] == "false"
    assert [job["state"] for job in jobs(server)][: len(jobs(server)) - before] == ["failed"]


@pytest.mark.parametrize("told", [True, False])
def test_a_file_beyond_the_limit_is_refused_and_nothing_of_it_stays(told: bool, server: Serving, folder: Path) -> None:
    head = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body = [head, *([bytes(100_000)] * (1 + MOST // 100_000)), b"\r\n--XX--\r\n"]
    headers = {"Content-Type": "multipart/form-data; boundary=XX"}
    if told:
        headers["Content-Length"] = f"{sum(map(len, body))}"
    with server.http() as http:
        answer = http.post("/v1/audio/transcriptions", content=iter(body), headers=headers)
    assert answer.status_code == 413
    assert f"{MOST} bytes" in answer.json()["error"]["message"]
    assert list((folder / "state/server/uploads").iterdir()) == []


def test_who_is_not_let_in_sends_nothing(server: Serving, talk: Path) -> None:
    stranger = openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-wrong", max_retries=0)
    with stranger as asking, pytest.raises(openai.AuthenticationError, match="token"):
        asking.audio.transcriptions.create(file=talk, model="whisper-1")


# Whose connection is lost


def request(server: Serving, content: bytes) -> bytes:
    """A request as curl writes it: fields behind the file, and names in quotes."""
    body = (
        b'--------------------------d74\r\nContent-Disposition: form-data; name="file"; filename="talk.wav"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n--------------------------d74\r\n"
        b'Content-Disposition: form-data; name="model"\r\n\r\nfaster-whisper-tiny\r\n'
        b"--------------------------d74--\r\n"
    )
    head = (
        f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAccept: */*\r\n"
        f"Authorization: Bearer {server.token}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: multipart/form-data; boundary=------------------------d74\r\n\r\n"
    )
    return head.encode() + body


def running(server: Serving, but: set[str]) -> str:
    """A job that is not over and was not there before."""
    found: str = until(lambda: next((job["job"] for job in jobs(server) if job["job"] not in but), ""))
    return found


def seen(server: Serving) -> set[str]:
    return {job["job"] for job in jobs(server)}


def test_a_client_that_goes_comes_back_to_its_job(server: Serving, folder: Path) -> None:
    content, before = voice(folder, 5.5), seen(server)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request(server, content))
        job = running(server, before)
    answer = ask(server, content)
    assert (answer.status_code, answer.headers["offload-job"]) == (200, job)
    assert seen(server) == before | {job}


def test_a_request_that_is_cut_short_is_no_job(server: Serving, folder: Path) -> None:
    before = seen(server)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(request(server, voice(folder, 60))[:1_500_000])
        until(lambda: list((folder / "state/server/uploads").glob("draft-*")))
    until(lambda: not list((folder / "state/server/uploads").glob("draft-*")))
    assert seen(server) == before


def test_who_leaves_is_waited_for_no_more() -> None:
    async def never(job: str) -> AsyncIterator[Any]:
        await asyncio.sleep(300)
        yield

    async def left() -> dict[str, str]:
        return {"type": "http.disconnect"}

    request: Any = SimpleNamespace(receive=left)
    desk: Any = SimpleNamespace(watcher=SimpleNamespace(job=never))
    with pytest.raises(Refusal, match="goes on without you"):
        asyncio.run(audio._over(request, desk, "0" * 12))


@pytest.mark.parametrize("end", [Serving.kill, Serving.stop])
def test_a_server_that_ends_meanwhile_has_the_job_when_it_is_back(
    end: Callable[[Serving], int | None], server: Serving, folder: Path
) -> None:
    content, before = voice(folder, 6.5 if end is Serving.kill else 6.6), seen(server)
    with no_place(settings.load(server.env)), ThreadPoolExecutor() as pool:
        asked = pool.submit(ask, server, content)
        job = running(server, before)
        end(server)
        with suppress(httpx.HTTPError):  # cut off; one that is asked to stop has half a second to say so
            told = asked.result()
            assert (told.status_code, end) == (503, Serving.stop)
            assert f"job {job} goes on without you" in told.text
    server.start()
    answer = ask(server, content)
    assert (answer.status_code, answer.headers["offload-job"]) == (200, job)
    assert seen(server) == before | {job}


def test_one_that_is_cancelled_says_so_and_is_taken_up_by_the_next_request(server: Serving, folder: Path) -> None:
    content, before = voice(folder, 7.5), seen(server)
    with no_place(settings.load(server.env)), ThreadPoolExecutor() as pool, server.http() as http:
        asked = pool.submit(ask, server, content)
        job = running(server, before)
        http.delete(f"/v1/jobs/{job}")
        told = asked.result()
    assert (told.status_code, "was cancelled" in told.json()["error"]["message"]) == (409, True)
    assert told.headers["x-should-retry"] == "false"
    answer = ask(server, content)
    assert (answer.status_code, answer.headers["offload-job"]) == (200, job)


def test_one_whose_outputs_were_deleted_is_made_anew(server: Serving, folder: Path) -> None:
    content = voice(folder, 5.5)
    first = ask(server, content)
    for file in (folder / "state/server/jobs").glob("*/out/talk.srt"):
        file.unlink()
    again = ask(server, content)
    assert (again.status_code, again.text) == (200, first.text)
    assert again.headers["offload-job"] != first.headers["offload-job"]
    assert first.headers["offload-job"] not in seen(server)


def test_those_who_wait_hold_no_thread(server: Serving, folder: Path) -> None:
    """More of them than there are threads for all that is asked of the server, which answers meanwhile."""
    content, before, count = voice(folder, 4.5), seen(server), 60
    begun = threading.Barrier(count + 1)

    def one() -> Any:
        begun.wait()
        return ask(server, content)

    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(one) for _ in range(count)]
        begun.wait()
        job = running(server, before)
        answers = [one.result() for one in asked]
    assert {(answer.status_code, answer.headers["offload-job"]) for answer in answers} == {(200, job)}
    assert seen(server) == before | {job}


def test_one_that_was_removed_is_told_to_be_gone() -> None:
    asked = speech.Wanted({}, "a.wav", "json", True, False)
    desk: Any = SimpleNamespace(broker=lambda: Broker(settings.load()))
    with pytest.raises(speech.Gone) as caught:
        speech.told(desk, "0" * 12, asked)
    assert caught.value.status == 410


@pytest.mark.parametrize(("code", "status"), [(3, 400), (4, 424), (5, 409), (6, 422), (7, 503), (8, 507), (9, 460)])
def test_a_job_that_failed_is_told_as_it_failed(code: int, status: int, broker: Broker, tmp_path: Path) -> None:
    """With the class and the hint of its own error: on this route, of the job, and on the command line."""
    job = broker.submit(a_job.request(tmp_path / "media", b"work"))
    ledger = a_job.ledger(broker.journal, job.id)
    ledger.advance(State.RUNNING)
    ledger.advance(State.FAILED, "it is not here", code, "offload models prefetch base")
    desk: Any = SimpleNamespace(broker=lambda: Broker(settings.load()))
    with pytest.raises(OffloadError) as caught:
        speech.told(desk, job.id, speech.Wanted({}, "a.wav", "json", True, False))
    answer = audio._problem(caught.value)
    problem = json.loads(bytes(answer.body))
    said = ("it is not here", "offload models prefetch base", code)
    assert (answer.status_code, problem["detail"], problem["hint"], problem["exit_code"]) == (status, *said)
    assert answer.headers["x-should-retry"] == "false"
    told = snapshots.snapshot(broker, job.id)
    assert (told.error, told.hint, told.exit_code) == said
    with pytest.raises(Ended) as seen:
        a_job.drive(broker, job)
    assert (str(seen.value), seen.value.hint, seen.value.exit_code) == said


def test_what_is_told_is_what_the_files_hold(server: Serving, folder: Path) -> None:
    """And those are the server's, as those of any job: by links to what was sent, and in a folder of their own."""
    content = voice(folder, 8.5)
    answer = ask(server, content, "../../evil.wav", response_format="srt")
    assert answer.status_code == 200
    with server.http() as http:
        job = http.get(f"/v1/jobs/{answer.headers['offload-job']}").json()
        files = {
            one["file"]: http.get(f"/v1/jobs/{job['job']}/outputs/{one['name']}").text
            for one in job["items"][0]["outputs"]
        }
        assert http.get(f"/v1/jobs/{job['job']}/inputs/0").content == content
    assert files["evil.srt"] == answer.text
    assert json.loads(files["evil.json"])["text"] == TEXT
    assert files.keys() == {"evil.srt", "evil.vtt", "evil.json"}
