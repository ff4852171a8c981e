"""What is said is written down: the same by either engine, in every format, by one thread or two.

The models have a text in their random weights: what they hear shows that all works together, not that they hear well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .heard import SPEECH, made, models, sound, transcribe
from .runs import Run
from .test_subtitles import read_json, read_srt, read_tsv, read_vtt

__all__ = ["models"]  # a fixture

SAID = [(0, 4000, "And so my fellow Americans"), (4000, 11000, "ask not what your country can do for you")]
ZERO = 50364  # the token of the time 0; the next are 20 ms each
ENGINES = {"whisper": "tiny.pt", "faster-whisper": "tiny"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve seconds of voice, three of silence, three with a click too soft to hear, a fifth of a second of voice."""
    folder = tmp_path_factory.mktemp("inputs")
    return [
        sound(folder / "voice.wav", (12, 0.5)),
        sound(folder / "silence.wav", (3, 0)),
        sound(folder / "click.wav", (1, 0), (0.1, 0.0005), (2, 0)),
        sound(folder / "short.wav", (0.2, 0.5)),
    ]


@pytest.fixture(scope="module", params=ENGINES)
def run(
    request: pytest.FixtureRequest, models: Path, inputs: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """One job of all these inputs, by one engine. Nobody is asked anything: no connection is made."""
    folder = tmp_path_factory.mktemp(request.param) / "job"
    return transcribe(folder, models / ENGINES[request.param], *inputs, word_timestamps=True)


def words(run: Run, index: int = 0) -> list[dict[str, Any]]:
    return [word for segment in json.loads(made(run, "json", index))["segments"] for word in segment["words"]]


def test_what_is_said_is_written_with_its_language(run: Run) -> None:
    whole = json.loads(made(run, "json"))
    assert whole["text"] == " ".join(said for _, _, said in SAID)
    assert (whole["language"], whole["model"], whole["task"], whole["duration"]) == ("de", "tiny", "transcribe", 12.0)
    assert whole["engine"] in ENGINES
    measured = run.done()["measured"]
    assert measured == {"seconds": 12.0, "language": "de", "cues": 2, "words": 14}


def test_all_formats_say_the_same_to_the_millisecond(run: Run) -> None:
    for index in (0, 3):
        read = read_json(made(run, "json", index))
        assert read
        assert read_srt(made(run, "srt", index)) == read_vtt(made(run, "vtt", index)) == read
        assert read_tsv(made(run, "tsv", index)) == read
        assert made(run, "txt", index) == "".join(f"{said}\n" for _, _, said in read)


def test_words_have_times_of_their_own_within_their_cue(run: Run) -> None:
    segments = json.loads(made(run, "json"))["segments"]
    assert [word["word"] for word in words(run)] == " ".join(said for _, _, said in SAID).split()
    for segment in segments:
        moments = [segment["start"], *(at for word in segment["words"] for at in (word["start"], word["end"]))]
        assert moments == sorted(moments)
        assert moments[-1] <= segment["end"]
    assert len({word["start"] for word in words(run)}) > 4
    assert all(0 <= word["probability"] <= 1 for word in words(run))


def test_what_the_model_wrote_is_told_with_the_times_among_it(run: Run) -> None:
    segments = json.loads(made(run, "json"))["segments"]
    assert segments[0]["tokens"][1:-1] == [400, 370, 452, 7177, 6280]  # what whisper's vocabulary has for the words
    for segment, (start, end, _) in zip(segments, SAID, strict=True):
        assert [(segment["tokens"][place] - ZERO) * 20 for place in (0, -1)] == [start, end]
        assert segment["seek"] == 0
        assert 0 < segment["compression_ratio"] < 2


@pytest.mark.parametrize("index", [1, 2])
def test_silence_is_no_words_and_no_failure(run: Run, index: int) -> None:
    assert run.status == 0
    assert run.logged(index) == "no speech found"
    assert made(run, "srt", index) == ""
    assert made(run, "vtt", index) == "WEBVTT\n"
    assert json.loads(made(run, "json", index))["language"] is None
    assert run.done(index)["measured"]["words"] == 0


def test_a_fifth_of_a_second_is_heard_and_no_cue_outlasts_it(run: Run) -> None:
    read = read_json(made(run, "json", 3))
    assert read
    assert read[-1][1] <= 200


def test_it_tells_what_it_ran_with(run: Run) -> None:
    (event,) = run.of("versions")
    told = event["versions"]
    assert told["device"] in ("cpu", "cuda")
    assert told.get("openai-whisper") == "20250625" or (told["faster-whisper"], told["compute_type"]) == (
        "1.2.1",
        "float32",
    )


def test_two_threads_write_what_one_does(run: Run, models: Path, inputs: list[Path], tmp_path: Path) -> None:
    model = models / ENGINES[json.loads(made(run, "json"))["engine"]]
    two = transcribe(tmp_path / "job", model, inputs[0], word_timestamps=True, threads=2)
    assert [one.of("versions")[0]["versions"]["threads"] for one in (run, two)] == ["1", "2"]
    assert made(two, "json") == made(run, "json")


def test_a_language_given_is_not_listened_for(models: Path, inputs: list[Path], tmp_path: Path) -> None:
    run = transcribe(tmp_path / "job", models / "tiny", inputs[0], language="fr", format=None)
    assert run.done()["measured"]["language"] == "fr"
    assert [file["name"] for file in run.done()["files"]] == ["transcript.srt"]  # as the item's own options say


def test_a_prompt_is_what_stands_before(models: Path, inputs: list[Path], tmp_path: Path) -> None:
    """The tiny models' text goes by position: what stands before moves it."""
    run = transcribe(tmp_path / "job", models / "tiny", inputs[0], initial_prompt="Kennedy, Washington, 1961.")
    assert read_json(made(run, "json")) != SAID


def test_translation_is_said_in_the_result(models: Path, inputs: list[Path], tmp_path: Path) -> None:
    run = transcribe(tmp_path / "job", models / "tiny", inputs[0], translate=True)
    assert json.loads(made(run, "json"))["task"] == "translate"


def test_an_english_model_takes_all_for_english(models: Path, inputs: list[Path], tmp_path: Path) -> None:
    for name in ("english", "english.pt"):
        run = transcribe(tmp_path / name, models / name, inputs[0], format=["json"])
        assert read_json(made(run, "json")) == SAID
        assert run.done()["measured"]["language"] == "en"
    for how in ({"language": "de"}, {"translate": True}):
        run = transcribe(tmp_path / "-".join(how), models / "english", inputs[0], **how)
        kind, error = run.failure()
        assert kind == "failed"
        assert "de" in error or "cannot translate" in error


def test_a_language_that_the_model_was_not_taught_is_named(models: Path, inputs: list[Path], tmp_path: Path) -> None:
    _, error = transcribe(tmp_path / "job", models / "tiny", inputs[0], language="yue").failure()
    assert "was not taught the language yue" in error


# Voices only


def test_a_hiss_is_no_voice(models: Path, tmp_path: Path) -> None:
    """faster-whisper has a model of voices, which is not taken in by noise, however loud."""
    noise = sound(tmp_path / "noise.wav", (12, 0), hiss=0.3)
    run = transcribe(tmp_path / "job", models / "tiny", noise, vad=True)
    assert run.logged() == "no speech found"
    assert transcribe(tmp_path / "without", models / "tiny", noise).done()["measured"]["words"] == 14


def test_whisper_listens_where_it_is_louder_than_the_background(models: Path, tmp_path: Path) -> None:
    late = sound(tmp_path / "late.wav", (20, 0), (9.123, 0.5), (20, 0), hiss=0.01)
    run = transcribe(tmp_path / "job", models / "tiny.pt", late, vad=True)
    read = read_json(made(run, "json"))
    assert read[0][0] == pytest.approx(19_600, abs=100)
    assert read[-1][1] <= 31_000


@pytest.mark.skipif(not SPEECH.exists(), reason="the recording is not here")
@pytest.mark.parametrize("engine", ENGINES)
def test_real_speech_is_a_voice(engine: str, models: Path, tmp_path: Path) -> None:
    """Random weights: what is shown is that the stretches are found and heard, not what was said."""
    run = transcribe(tmp_path / "job", models / ENGINES[engine], SPEECH, vad=True)
    assert [said for _, _, said in read_json(made(run, "json"))] == [said for _, _, said in SAID]
