"""Transcribe as a command: what it takes, what it makes and what it is called, and what it says to a mistake."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from broker.errors import UsageError
from broker.models import catalogue
from broker.scripts import environment, folder, read_header
from services.base.options import parse
from services.transcribe import LANGUAGES, SERVICE, UNTAUGHT, Transcribe
from tests.media import clip, truncate
from tests.remote_scripts.heard import SPEECH, models, sound
from tests.remote_scripts.test_subtitles import read_json, read_srt, read_vtt
from tests.services.typed import PYTHON, ROOT, Said, Word, type_

__all__ = ["models"]  # a fixture

TEXT = "And so my fellow Americans ask not what your country can do for you"


def transcribe(cwd: Path, *words: Word) -> Said:
    return type_([PYTHON, "-m", "services.transcribe", *words], cwd, {"OMP_NUM_THREADS": "1"})


@pytest.fixture
def talk(here: Path) -> Path:
    """Twelve seconds of what may be a voice, as `talk.wav`."""
    return sound(here / "talk.wav", (12, 0.5))


# Whole


def test_a_talk_becomes_subtitles_beside_it(here: Path, talk: Path, models: Path) -> None:
    said = transcribe(here, "talk.wav", "-f", "srt,vtt,json", "--model", models / "tiny.pt", "--word-timestamps")
    assert said.code == 0, said.err
    assert said.lines == [str(here / name) for name in ("talk.srt", "talk.vtt", "talk.json")]
    assert "14 words, german" in said.err
    srt, vtt, whole = ((here / f"talk.{suffix}").read_text() for suffix in ("srt", "vtt", "json"))
    assert read_srt(srt) == read_vtt(vtt) == read_json(whole)
    assert json.loads(whole)["text"] == TEXT
    assert json.loads(whole)["model"] == "tiny.pt"  # its name, not where it lies
    assert sum(len(segment["words"]) for segment in json.loads(whole)["segments"]) == 14


def test_several_by_the_other_engine_one_of_them_silent_and_one_without_sound(
    here: Path, talk: Path, models: Path
) -> None:
    sound(here / "silence.wav", (2, 0))
    clip(here / "mute.mp4", sound=False)
    clip(here / "film.mp4", 1)
    words = (
        "talk.wav",
        "silence.wav",
        "mute.mp4",
        "film.mp4",
        "--engine",
        "faster-whisper",
        "--model",
        models / "tiny",
    )
    said = transcribe(here, *words, "-o", "subtitles/", "--json")
    assert said.code == 101
    assert sorted(path.name for path in (here / "subtitles").iterdir()) == ["film.srt", "silence.srt", "talk.srt"]
    assert (here / "subtitles/silence.srt").read_bytes() == b""
    assert "no speech found" in said.err
    items = said.document["items"]
    assert [item["kind"] for item in items] == [None, None, "bad_input", None]
    assert "no sound" in items[2]["error"]


@pytest.mark.skipif(not SPEECH.exists(), reason="the recording is not here")
def test_real_speech_goes_the_whole_way(here: Path, models: Path) -> None:
    """With random weights: what is shown is that all works together."""
    words = (SPEECH, "-o", "speech.txt", "--engine", "faster-whisper", "--model", models / "tiny", "--vad", "-q")
    assert transcribe(here, *words).code == 0
    assert (here / "speech.txt").read_text().split() == TEXT.split()


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--language", "klingon"], 2, "auto listens"),
        (["--language", "germn"], 2, "german"),
        (["--model", "bse"], 2, "base"),
        (["-f", "srt,doc"], 2, "doc"),
        (["-f", ","], 2, "at least one"),
        (["--compute-type", "int8_float32"], 2, "--engine faster-whisper"),
        (["--window", "5"], 2, "30"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(
    here: Path, talk: Path, words: list[str], code: int, told: str
) -> None:
    said = transcribe(here, "talk.wav", *words)
    assert (said.code, said.out) == (code, b"")
    assert told in said.err
    assert list(here.iterdir()) == [talk]


def test_damage_is_told_and_nothing_is_written(here: Path, talk: Path, models: Path) -> None:
    truncate(talk, here / "cut.wav", 0.5)
    said = transcribe(here, "cut.wav", "--engine", "faster-whisper", "--model", models / "tiny")
    assert said.code == 3
    assert "cut short" in said.err
    assert {path.name for path in here.iterdir()} == {"cut.wav", "talk.wav"}


# Parameters


@pytest.mark.parametrize(
    ("word", "code"), [("de", "de"), ("German", "de"), (" EN ", "en"), ("auto", "auto"), ("haitian creole", "ht")]
)
def test_a_language_is_a_code_or_a_name(word: str, code: str) -> None:
    assert parse(Transcribe, {"language": word}).for_script()["language"] == code


def test_the_languages_are_those_that_whisper_was_taught() -> None:
    """Read, not imported: the package takes torch with it."""
    spec = importlib.util.find_spec("whisper")
    assert spec and spec.origin
    tree = ast.parse((Path(spec.origin).parent / "tokenizer.py").read_text())
    (table,) = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "LANGUAGES"
    )
    assert {code: name for name, code in LANGUAGES.items()} == ast.literal_eval(table)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"model": "base.en", "language": "de"}, "knows English only"),
        ({"model": "base.en", "translate": True}, "nothing to translate"),
        ({"model": "turbo", "translate": True}, "not taught to translate"),
        ({"engine": "whisper", "compute_type": "int8_float32"}, "computes in float32"),
    ],
)
def test_what_makes_no_sense_together_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        parse(Transcribe, values)
    assert caught.value.hint


@pytest.mark.parametrize(("engine", "other"), [("whisper", "faster-whisper"), ("faster-whisper", "whisper")])
def test_a_path_is_a_model_of_its_own_engine(engine: str, other: str, tmp_path: Path) -> None:
    paths = {"whisper": tmp_path / "own.pt", "faster-whisper": tmp_path / "own"}
    paths["whisper"].touch()
    paths["faster-whisper"].mkdir()
    (tmp_path / "own/model.bin").touch()
    found = parse(Transcribe, {"engine": engine, "model": str(paths[engine])})
    assert found.models() == {"model": f"path:{paths[engine]}"}
    assert found.for_script()["model"] == paths[engine].name
    with pytest.raises(UsageError) as caught:
        parse(Transcribe, {"engine": engine, "model": str(paths[other])})
    assert f"--engine {other}" in caught.value.hint


def test_a_model_from_elsewhere_goes_by_its_files_name() -> None:
    found = parse(Transcribe, {"model": "https://host/folder/mine.pt"})
    assert (found.models(), found.for_script()["model"]) == ({"model": "https://host/folder/mine.pt"}, "mine.pt")
    assert parse(Transcribe, {"engine": "faster-whisper", "model": "base"}).for_script()["model"] == "base"
    with pytest.raises(UsageError, match="nothing after"):
        parse(Transcribe, {"model": "https://host/mine.pt?token=SECRET"})


def test_the_catalogue_has_the_models_that_the_help_names() -> None:
    names = ["tiny", "base", "small", "medium", "large-v3", "turbo"]
    for name in [*names, *(f"{name}.en" for name in names[:4])]:
        for engine in ("whisper", "faster-whisper"):
            entry = parse(Transcribe, {"engine": engine, "model": name}).models()["model"]
            assert entry == catalogue.find("transcribe", name, engine).source
    assert set(UNTAUGHT) < set(names)
    assert Transcribe().models()["model"] == catalogue.default("transcribe", "whisper").source


@pytest.mark.parametrize(
    ("dest", "formats", "made"),
    [
        ("talk.srt", None, ["talk.srt"]),
        ("out.vtt", None, ["out.vtt"]),
        ("talk.srt", "txt,json,txt", ["talk.txt", "talk.json"]),
        ("my.talk.srt", "vtt", ["my.talk.vtt"]),
    ],
)
def test_a_file_for_each_format(dest: str, formats: str | None, made: list[str]) -> None:
    found = SERVICE.outputs(Path(dest), parse(Transcribe, {"format": formats}))
    assert [str(path) for path in found.values()] == made
    assert all(name == f"transcript{Path(path).suffix}" for name, path in zip(found, made, strict=True))


def test_what_a_script_measured_is_a_few_words() -> None:
    assert SERVICE.describe({"cues": 2, "words": 14, "language": "de"}) == "14 words, german"
    assert SERVICE.describe({"cues": 0, "words": 0, "language": ""}) == "no speech found"
    assert "unknown" in SERVICE.describe({"cues": 1, "words": 1, "language": "xx"})


# Packages


@pytest.mark.parametrize(("engine", "extra"), [("whisper", "transcribe"), ("faster-whisper", "faster-whisper")])
def test_the_header_asks_for_what_the_extra_does(engine: str, extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needed = environment(folder() / "transcribe.py", SERVICE.extras(Transcribe(engine=engine)))["dependencies"]
    wanted = [need for need in project["optional-dependencies"][extra] if not need.startswith("offload-broker")]
    assert sorted(needed) == sorted(wanted)


def test_preparing_needs_no_more_than_av_and_torch_is_the_targets_own() -> None:
    header = read_header(folder() / "extract_sound.py")
    assert [need.partition("=")[0] for need in header["dependencies"]] == ["av"]
    assert read_header(folder() / "transcribe.py")["tool"]["offload"]["take-from-target"] == ["torch"]


def test_help_loads_nothing_heavy(here: Path) -> None:
    heavy = ("torch", "av", "numpy", "whisper", "ctranslate2")
    make = "from services.base.command import command; from services.transcribe import SERVICE; command(SERVICE)"
    code = f"import sys; {make}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
