# /// script
# requires-python = ">=3.11"
# dependencies = ["av==18.1.0", "numpy>=2,<3"]
#
# [tool.offload]
# take-from-target = ["torch"]
#
# [tool.offload.extras]
# whisper = ["openai-whisper==20250625", "torch>=2.10,<3"]
# faster-whisper = ["faster-whisper==1.2.1"]
# ///
"""Write down what is said: subtitles and transcripts, from one list of cues.

    params:  engine (whisper or faster-whisper), model (its name, for people), language (a code, or auto), translate,
             format (txt, srt, vtt, tsv, json; none: the item's own), word_timestamps, vad, initial_prompt,
             compute_type (of faster-whisper), beam_size (1: greedy), threads (0: all cores but one), window (seconds)
    limits:  pixels, seconds (of sound)
    models:  model (one .pt file, or a folder in CTranslate2's format)
    options: format
    output:  transcript.<format>, for each format

Sound is heard in windows of about five minutes, cut where it is quiet. Each is a checkpoint, with all that the next
needs of it: the language, and the last words, which are its prompt. It is heard at temperature 0 first and, where that
fails, at higher ones, drawn with one seed for each window: a job that is taken up writes the same.

With `vad`, only stretches with a voice are heard. faster-whisper comes with a model of voices (Silero); whisper does
not, and takes what is louder than the background. Where nothing reaches -60 dB, nothing is heard, with or without it:
models make up words in silence.
"""

from __future__ import annotations

import functools
import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import _subtitles
import av
import numpy as np
from _hearing import LOST, Heard
from _job import Item, ItemError, Job, Result, run
from _media import check_seconds
from _sound import RATE, Track, open_track
from _subtitles import Cue, Word
from _windows import Window, windows

ENGINES = {"whisper": "_whisper", "faster-whisper": "_faster_whisper"}
PROMPT = 600  # characters of what was said last: about as much as a model looks at
EVENT_SECONDS = 0.5


@dataclass(frozen=True)
class Before:
    """What a window needs of those before it. `language` is empty until something was heard."""

    prompt: str
    language: str


@dataclass(frozen=True)
class Part:
    """What was heard in a window that began at sample `start`: `given` what was known, `after` is for the next."""

    start: int
    given: Before
    after: Before
    cues: tuple[Cue, ...]

    def dump(self) -> str:
        """As JSON, for a checkpoint."""
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Part:
        """Back from JSON. Raises ValueError, KeyError or TypeError where it is none."""
        part = json.loads(text)
        cues = (Cue(**cue | {"words": tuple(Word(**word) for word in cue["words"])}) for cue in part["cues"])
        return cls(part["start"], Before(**part["given"]), Before(**part["after"]), tuple(cues))


def transcribe(job: Job, item: Item) -> Result:
    """Write down one input."""
    engine = _engine(job)
    if item is job.items[0]:
        job.emit("versions", versions={"av": av.__version__, "numpy": np.__version__, **engine.versions()})
    with open_track(item.input, int(job.limits["pixels"])) as track:
        check_seconds(track.seconds, job.limits["seconds"])
        cues, language, seconds = _listen(job, item, engine, track)
    if not cues:
        job.log(item, "no speech found")
    measured = {"seconds": seconds, "language": language, "cues": len(cues), "words": _count(cues)}
    return Result(_write(job, item, cues, measured), measured)


@functools.cache
def _engine(job: Job) -> Any:
    """The engine, loaded once for all items."""
    params = job.params
    engine = importlib.import_module(ENGINES[params["engine"]]).Engine(job.models["model"], params, job.ease)
    if params["language"] != "auto" and not engine.knows(params["language"]):
        raise ItemError(f"the model {params['model']} was not taught the language {params['language']}")
    if engine.english and params["translate"]:
        raise ItemError(f"the model {params['model']} knows English only: it cannot translate")
    return engine


def _listen(job: Job, item: Item, engine: Any, track: Track) -> tuple[list[Cue], str, float]:
    """The cues of a whole track, its language ("" where nothing was heard), and its seconds."""
    params = job.params
    state = Before(params["initial_prompt"], "" if params["language"] == "auto" else params["language"])
    meter = Meter(job, item, track.seconds)
    cues: list[Cue] = []
    end = 0
    for window in windows(track, params["window"]):
        end = window.end
        check_seconds(end / RATE, job.limits["seconds"])
        kept = _kept(item, window, state)
        part = kept or _hear(engine, window, state, params, meter)
        if kept is None:
            _keep(job, item, window, part)
        meter.reach(end / RATE, free=kept is not None or window.silent)
        cues.extend(part.cues)
        state = part.after
    track.check_whole()
    return cues, state.language, round(end / RATE, 3)


def _name(window: Window) -> str:
    return f"window-{window.index:04}"


def _kept(item: Item, window: Window, given: Before) -> Part | None:
    """What an earlier attempt heard in this window, if it knew the same before it."""
    path = item.checkpoints.get(_name(window))
    if path is None:
        return None
    try:
        part = Part.load(path.read_text("utf-8"))
    except (ValueError, KeyError, TypeError) as error:
        print(f"{_name(window)} is heard again, its checkpoint cannot be read: {error!r}", file=sys.stderr)
        return None
    return part if (part.start, part.given) == (window.start, given) else None


def _keep(job: Job, item: Item, window: Window, part: Part) -> None:
    draft = Path(f"{item.index}.{_name(window)}.json")
    draft.write_text(part.dump(), "utf-8")
    job.checkpoint(item, _name(window), draft)


def _hear(engine: Any, window: Window, given: Before, params: dict[str, Any], meter: Meter) -> Part:
    within = engine.stretches(window) if params["vad"] and not window.silent else None
    if window.silent or within == []:
        return Part(window.start, given, given, ())
    samples = window.floats()
    language = given.language or engine.language(samples[_first_sound(window, within) :])

    def tell(seconds: float) -> None:  # an engine may hear the silence that it fills up with, too
        meter.tell(min(window.start / RATE + seconds, window.end / RATE))

    heard = engine.hear(samples, language, given.prompt, within, tell)
    cues = _subtitles.tidy((_cue(segment, window.start) for segment in heard), round(window.end * 1000 / RATE))
    return Part(window.start, given, Before(_prompt(given, heard, params), language), tuple(cues))


def _first_sound(window: Window, within: Sequence[tuple[float, float]] | None) -> int:
    """The sample to listen from to tell the language."""
    if within is not None:
        return int(within[0][0] * RATE)
    loudness = np.abs(window.samples.astype(np.int32))
    return int(np.argmax(4 * loudness >= loudness.max()))


def _prompt(given: Before, heard: Sequence[Heard], params: dict[str, Any]) -> str:
    """What the next window is told was said before it."""
    if heard and heard[-1].temperature > LOST:
        return str(params["initial_prompt"])
    text = " ".join([given.prompt, *(segment.text.strip() for segment in heard)]).strip()
    last = text[-PROMPT:]
    return last if last == text else last.partition(" ")[2] or last


def _cue(segment: Heard, start: int) -> Cue:
    def at(seconds: float) -> int:
        return round(start * 1000 / RATE + seconds * 1000)

    words = (Word(at(first), at(last), text, round(sure, 3)) for first, last, text, sure in segment.words)
    more = {
        "temperature": segment.temperature,
        "avg_logprob": round(segment.avg_logprob, 3) + 0.0,  # and never -0.0
        "no_speech_prob": round(segment.no_speech_prob, 3),
        "compression_ratio": round(segment.compression_ratio, 3),
        "seek": start * 100 // RATE + segment.seek,
        "tokens": list(segment.tokens),
    }
    return Cue(at(segment.start), at(segment.end), segment.text, tuple(words), more)


class Meter:
    """Progress in seconds of sound: at the end of a window, and else at most two events a second.

    What was kept from before does not count as speed.
    """

    def __init__(self, job: Job, item: Item, length: float) -> None:
        self._job, self._item, self._length = job, item, length
        self._begun = self._last = time.monotonic()
        self._free = self._reached = 0.0

    def tell(self, seconds: float) -> None:
        """Say that all up to `seconds` has been heard."""
        now = time.monotonic()
        self._reached = max(self._reached, seconds)
        if now - self._last >= EVENT_SECONDS and self._reached > self._free:  # else there is no speed yet
            self._say(now)

    def _say(self, now: float) -> None:
        self._last = now
        speed = (self._reached - self._free) / (now - self._begun)
        left = max(0.0, self._length - self._reached)
        fraction = self._reached / (self._reached + left) if self._reached else 0.0
        self._job.progress(self._item, fraction, speed, left / speed if speed else 0.0)

    def reach(self, seconds: float, free: bool) -> None:
        """Say that a window is over at `seconds`, and whether it was free of work."""
        if free:
            self._free += seconds - self._reached
        self._reached = seconds
        self._say(time.monotonic())


def _write(job: Job, item: Item, cues: Sequence[Cue], measured: dict[str, Any]) -> tuple[Path, ...]:
    params = job.params
    about = {
        "language": measured["language"] or None,
        "model": params["model"],
        "engine": params["engine"],
        "task": "translate" if params["translate"] else "transcribe",
        "duration": measured["seconds"],
    }
    paths = []
    for format_ in params["format"] or [item.options["format"]]:
        paths.append(item.out / f"transcript.{format_}")
        paths[-1].write_text(_subtitles.FORMATS[format_](cues, about), "utf-8", newline="\n")
    return tuple(paths)


def _count(cues: Sequence[Cue]) -> int:
    return sum(len(cue.words) or len(cue.text.split()) for cue in cues)


if __name__ == "__main__":
    sys.exit(run(transcribe))
