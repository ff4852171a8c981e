"""Speech as OpenAI's API asks for it and answers: which job that is, and what to tell of its transcript.

What cannot be done as it was asked for is refused, in a sentence; nothing is passed over that would change the text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker import scripts, standing
from broker.again import again
from broker.broker import Broker
from broker.errors import Ended, JobFailed
from broker.job import Job, State
from broker.lease import Held
from broker.models import catalogue
from server import folders, submission
from server.desk import Desk
from server.forms import Form
from server.inputs import cleaned
from server.problems import Refusal
from server.wishes import Upload, Wish
from services.base.text import plain
from services.transcribe import LANGUAGES, SERVICE

USUAL = "whisper-1"
"""What OpenAI calls the model: here, the one that the service uses when none is named."""

MADE = ("srt", "vtt", "json")
"""What every job makes: a client that then asks for another of these has it at once."""

KINDS = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
"""The formats of an answer, and their media types."""

PROMPT_CHARS = 2000
"""As the service has it."""

GRANULARITIES = ("timestamp_granularities[]", "timestamp_granularities")
FIELDS = ("file", "model", "language", "prompt", "response_format", "temperature", *GRANULARITIES)
HARMLESS = {"user": None, "stream": "false", "chunking_strategy": "auto"}
"""What may be sent besides, since it changes nothing: with any value (None), or with that one."""

SEGMENT = ("id", "seek", "start", "end", "text", "tokens", "temperature")
SURENESS = ("avg_logprob", "compression_ratio", "no_speech_prob")


class Wrong(Refusal):
    """A request that is refused for one of its fields, `param`."""

    def __init__(self, status: int, detail: str, param: str, code: str | None = None, hint: str = "") -> None:
        super().__init__(status, detail, hint)
        self.param, self.code = param, code


class Gone(Refusal):
    """The job was removed while its end was waited for."""

    def __init__(self) -> None:
        super().__init__(410, "the job was removed before it was done", "ask again for a new one")


@dataclass(frozen=True)
class Wanted:
    """What was asked for: parameters of the service, the name of the file, and what to tell."""

    params: Mapping[str, Any]
    name: str
    format: str
    segments: bool
    words: bool


def wanted(form: Form, translate: bool) -> Wanted:
    """What a form asks for. Raises Wrong for what is missing, and for what cannot be done as it is asked for."""
    name = _file(form)
    _check_known(form.fields)
    format_ = _one(form.fields, "response_format") or "json"
    if format_ not in KINDS:
        raise Wrong(400, f"response_format is {_shown(format_)}; it may be: {', '.join(KINDS)}", "response_format")
    _check_temperature(_one(form.fields, "temperature"))
    prompt = _one(form.fields, "prompt")
    if len(prompt) > PROMPT_CHARS:
        raise Wrong(400, f"prompt has more than {PROMPT_CHARS} characters", "prompt")
    grains = _granularities(form.fields, format_, translate)
    given = {"language": _one(form.fields, "language"), "initial_prompt": prompt}
    params = {
        "format": [*MADE],
        **_model(_one(form.fields, "model")),
        **{field: value for field, value in given.items() if value},
        **({"translate": True} if translate else {}),
        **({"word_timestamps": True} if "word" in grains else {}),
    }
    return Wanted(params, name, format_, "word" not in grains or "segment" in grains, "word" in grains)


def _file(form: Form) -> str:
    if "file" in form.fields:
        raise Wrong(400, "file is a text, and no file: curl sends one with -F file=@NAME", "file")
    if form.file is None or form.file.field != "file":
        raise Wrong(400, "there is no file: it is sent as the field file", "file")
    if not form.file.size:
        raise Wrong(400, "the file is empty", "file")
    return cleaned(form.file.name)


def _check_known(fields: Mapping[str, Sequence[str]]) -> None:
    for name, values in fields.items():
        if name in FIELDS or not any(values):
            continue
        harmless = HARMLESS.get(name, "")
        if harmless is not None and any(value.lower() != harmless for value in values):
            others = f"; it may be {harmless}" if harmless else ""
            raise Wrong(400, f"{_shown(name)} {_shown(values[0])} cannot be done here{others}", name[:100])


def _one(fields: Mapping[str, Sequence[str]], name: str) -> str:
    values = fields.get(name, [])
    if len(values) > 1:
        raise Wrong(400, f"{name} is given {len(values)} times", name)
    return values[0] if values else ""


def _check_temperature(word: str) -> None:
    try:
        temperature = float(word or 0)
    except ValueError:
        temperature = math.nan
    if temperature != 0:
        said = f"temperature is {_shown(word)}, and can only be 0: higher ones are tried where that fails"
        raise Wrong(400, said, "temperature")


def _granularities(fields: Mapping[str, Sequence[str]], format_: str, translate: bool) -> set[str]:
    name = GRANULARITIES[0]
    grains = {grain for field in GRANULARITIES for grain in fields.get(field, ()) if grain}
    if not grains <= {"word", "segment"}:
        raise Wrong(400, f"{name} may be word and segment", name)
    if grains and format_ != "verbose_json":
        raise Wrong(400, f"{name} goes with response_format verbose_json alone", name)
    if translate and "word" in grains:
        raise Wrong(400, "a translation has no times of words: they are those of what was said", name)
    return grains


def _model(word: str) -> dict[str, str]:
    """The engine and model of a name of the catalogue. Raises Wrong."""
    if not word:
        raise Wrong(400, f"no model is named: {USUAL} is the usual one", "model")
    if word == USUAL:
        return {}
    known = {entry.name: entry for entry in catalogue.entries() if entry.service == SERVICE.name}
    if word not in known:
        said = f"the model {_shown(word)} is not known here; there are: {', '.join([USUAL, *known])}"
        raise Wrong(404, said, "model", "model_not_found")
    engine = known[word].engine
    return {"engine": engine, "model": word.removeprefix(f"{engine}-")}


def _shown(text: str) -> str:
    return plain(repr(text if len(text) <= 100 else f"{text[:100]}..."))


def job(desk: Desk, asked: Wanted, sha256: str) -> str:
    """The job for what was asked: the same client's, whose connection was lost, or any other's that asked for the same.

    One that failed or was cancelled is tried again. Raises as `submission.submit`.
    """
    wish = Wish(service=SERVICE.name, inputs=[Upload(blob=sha256, name=asked.name)], params={**asked.params})
    script = scripts.bundle(scripts.folder() / SERVICE.script).id
    key = f"speech {script} {wish.model_dump_json()}"
    with desk.broker() as broker:
        found, new = submission.submit(desk, broker, wish, key)
        if not new and found.state is State.DONE and not _is_there(found):
            folders.remove(broker, found)
            found, new = submission.submit(desk, broker, wish, key)
        if not new:
            _take_up(desk, broker, found)
        return found.id


def _is_there(job: Job) -> bool:
    return all(output.dest.is_file() for output in job.items[0].outputs)


def _take_up(desk: Desk, broker: Broker, job: Job) -> None:
    if job.state.over and job.state is not State.DONE:
        try:
            again(broker, job, patience=0)
        except Held as error:  # somebody else has just ended it, or is about to do this
            raise Refusal(503, f"job {job.id} is in somebody's hands", "ask again in a moment") from error
        broker.journal.detach(job.id)
    desk.look_after()


def told(desk: Desk, job: str, asked: Wanted) -> tuple[str, str]:
    """What to answer of a job that is over: the body, and its media type.

    Raises why there is nothing to tell: Ended, as the job did, or Refusal.
    """
    with desk.broker() as broker:
        if job not in broker.journal.knows([job]):
            raise Gone
        found = broker.journal.job(job)
        _check_done(broker, found)
    try:
        return _answer(found, asked), KINDS[asked.format]
    except FileNotFoundError as error:  # removed in this moment
        raise Gone from error


def _check_done(broker: Broker, job: Job) -> None:
    if job.state is State.CANCELLED:
        raise Refusal(409, f"job {job.id} was cancelled", "ask again to have it done")
    if job.state is not State.DONE:
        ending = broker.journal.ending(job.id)
        said = job.items[0].error or ending.error or "the script failed"
        raise Ended(said, standing.hint(broker, job), ending.exit_code or JobFailed.exit_code)


def _answer(job: Job, asked: Wanted) -> str:
    files = {output.dest.suffix[1:]: output.dest for output in job.items[0].outputs}
    if asked.format in ("srt", "vtt"):
        return files[asked.format].read_text("utf-8")
    transcript = _read(files["json"])
    if asked.format == "text":
        return f"{transcript['text']}\n"
    return json.dumps(
        _verbose(transcript, asked) if asked.format == "verbose_json" else {"text": transcript["text"]},
        ensure_ascii=False,
    )


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def _verbose(transcript: Mapping[str, Any], asked: Wanted) -> dict[str, Any]:
    segments = transcript["segments"]
    return {
        "task": transcript["task"],
        "language": _language(transcript),
        "duration": transcript["duration"],
        "text": transcript["text"],
        **(
            {"segments": [{name: one[name] for name in (*SEGMENT, *SURENESS)} for one in segments]}
            if asked.segments
            else {}
        ),
        **({"words": [*_words(segments)]} if asked.words else {}),
    }


def _language(transcript: Mapping[str, Any]) -> str:
    """The name of the language that the text is in; empty where nothing was said and none was named."""
    if transcript["task"] == "translate":
        return "english"
    names = {code: name for name, code in LANGUAGES.items()}
    code = transcript["language"] or ""
    return names.get(code, code)


def _words(segments: Iterable[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
    for segment in segments:
        for word in segment.get("words", ()):
            yield {"word": word["word"], "start": word["start"], "end": word["end"]}
