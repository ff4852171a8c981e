"""Transcripts and captions compared: words, times, and the level that they reach."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services import caption, transcribe
from services.base.compare import Comparison, Level, Texts, compare, texts
from tests.remote_scripts.runs import part

WORDS = [f"word{number}" for number in range(200)]
FORMATS = ("srt", "vtt", "tsv", "json", "txt")


def transcript(path: Path, words: list[str], late: int = 0, first: int = 0) -> Path:
    """A transcript as transcribe writes it: ten words a cue, a cue a second, `late` by milliseconds from `first` on."""
    subtitles = part("_subtitles")
    cues = [
        subtitles.Cue(
            number * 1000 + late * (number >= first), number * 1000 + 900, " ".join(words[start : start + 10])
        )
        for number, start in enumerate(range(0, len(words), 10))
    ]
    path.write_text(subtitles.FORMATS[path.suffix[1:]](cues, {"language": "en"}), "utf-8")
    return path


def transcripts(one: Path, other: Path) -> Comparison:
    return compare(one, other, transcribe.SERVICE.compare)


def changed(*places: int) -> list[str]:
    return [f"other{number}" if number in places else word for number, word in enumerate(WORDS)]


@pytest.mark.parametrize("format_", FORMATS)
def test_one_changed_word_of_many_is_close(format_: str, tmp_path: Path) -> None:
    one, other = transcript(tmp_path / f"1.{format_}", WORDS), transcript(tmp_path / f"2.{format_}", changed(57))
    found = transcripts(one, other)
    assert found.level is Level.CLOSE
    assert (found.figures["words"], found.figures["differing_words"]) == (200, 1)
    assert found.sentence.startswith("1 of 200 words differ")
    assert found.figures["times_differ_seconds"] == (None if format_ == "txt" else 0)


@pytest.mark.parametrize("format_", FORMATS)
def test_more_than_one_in_a_hundred_is_different(format_: str, tmp_path: Path) -> None:
    one = transcript(tmp_path / f"1.{format_}", WORDS)
    assert transcripts(one, transcript(tmp_path / f"2.{format_}", changed(3, 99))).level is Level.CLOSE
    found = transcripts(one, transcript(tmp_path / f"2.{format_}", changed(3, 99, 100)))
    assert (found.level, found.figures["differing_words"]) == (Level.DIFFERENT, 3)


def test_equal_transcripts_are_equal_by_their_bytes(tmp_path: Path) -> None:
    assert transcripts(*(transcript(tmp_path / f"{n}.srt", WORDS) for n in "12")).level is Level.BYTES


@pytest.mark.parametrize("format_", ["srt", "vtt", "tsv", "json"])
@pytest.mark.parametrize(("late", "level"), [(40, Level.CLOSE), (200, Level.CLOSE), (210, Level.DIFFERENT)])
def test_times_count(format_: str, late: int, level: Level, tmp_path: Path) -> None:
    one = transcript(tmp_path / f"1.{format_}", WORDS)
    found = transcripts(one, transcript(tmp_path / f"2.{format_}", WORDS, late, first=7))
    assert found.figures["times_differ_seconds"] == late / 1000
    assert found.figures["differing_words"] == 0
    assert found.level is level


def test_a_cue_more_does_not_make_all_times_wrong(tmp_path: Path) -> None:
    one, other = transcript(tmp_path / "1.tsv", WORDS), transcript(tmp_path / "2.tsv", WORDS)
    lines = other.read_text().splitlines()
    start, _, text = lines[5].split("\t")
    lines[5:6] = [f"{start}\t{int(start) + 400}\t{text[:30]}", f"{int(start) + 400}\t{int(start) + 900}\t{text[30:]}"]
    other.write_text("\n".join(lines) + "\n")
    found = transcripts(one, other)
    assert found.figures["cues"] == [20, 21]
    assert found.figures["times_differ_seconds"] == 0


def subtitles(path: Path, *cues: tuple[float, float, str]) -> Path:
    """Subtitles of these cues: from, to, in seconds, and what is said."""
    part_ = part("_subtitles")
    told = [part_.Cue(round(start * 1000), round(end * 1000), text) for start, end, text in cues]
    path.write_text(part_.FORMATS[path.suffix[1:]](told, {"language": "en"}), "utf-8")
    return path


@pytest.mark.parametrize(
    ("cues", "gap"),
    [
        ([(600, 3544, "hello there my good friend")], 3540),  # said an hour later, in a cue of another text
        ([(0, 4, "hello there my good friend")], 0),
        ([(0, 5, "hello there my good friend")], 1),
        ([(0.5, 4, "hello there my good friend")], 0.5),
        ([(0, 1, "hello"), (1, 2, "there my"), (2, 4, "good friend")], 0),
        ([(0, 1, "hello"), (1, 2.75, "there my"), (2.75, 4, "good friend")], 0.75),
        ([(0, 1, "hullo"), (1, 2, "there my"), (2, 9, "good fiend")], 5),  # also where the words differ
    ],
)
def test_cues_that_are_cut_elsewhere_are_compared_by_where_their_words_begin_and_end(
    cues: list[tuple[float, float, str]], gap: float, tmp_path: Path
) -> None:
    one = subtitles(tmp_path / "1.srt", (0, 2, "hello there my"), (2, 4, "good friend"))
    found = transcripts(one, subtitles(tmp_path / "2.srt", *cues))
    assert found.figures["times_differ_seconds"] == gap
    assert (found.level is Level.CLOSE) is (gap <= 0.2)


def test_times_of_words_count_where_they_are_told(tmp_path: Path) -> None:
    def told(end: float) -> dict[str, Any]:
        word = {"start": 0.0, "end": end, "word": "hello", "probability": 0.9}
        return {"segments": [{"id": 0, "start": 0.0, "end": 2.0, "text": "hello", "words": [word]}]}

    for name, end in (("1", 0.5), ("2", 0.9)):
        (tmp_path / f"{name}.json").write_text(json.dumps(told(end)))
    found = transcripts(tmp_path / "1.json", tmp_path / "2.json")
    assert (found.level, found.figures["times_differ_seconds"]) == (Level.DIFFERENT, 0.4)


def test_words_put_in_and_left_out_are_counted_once(tmp_path: Path) -> None:
    one, other = tmp_path / "1.txt", tmp_path / "2.txt"
    one.write_text("a b c d e f g\n")
    other.write_text("a b x y d e g h\n")
    found = transcripts(one, other)
    assert found.figures["differing_words"] == 4  # c is two others, f is gone, h is new
    differing = texts.differing(*(path.read_text().split() for path in (one, other)))
    assert differing == texts.Differing(frozenset({2, 5}), frozenset({2, 3, 7}), 4)
    assert found.exhibit == Texts(("a b c d e f g",), ("a b x y d e g h",))


def test_nothing_said_against_something_said(tmp_path: Path) -> None:
    one, other = transcript(tmp_path / "1.srt", []), transcript(tmp_path / "2.srt", WORDS)
    found = transcripts(one, other)
    assert (found.level, found.figures["differing_words"], found.figures["words"]) == (Level.DIFFERENT, 200, 200)


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("json", "{}"),
        ("json", "[1]"),
        ("json", "[" * 100_000),
        ("json", '{"segments": [{"start": "x", "end": 1, "text": ""}]}'),
        ("srt", "no subtitle"),
        ("tsv", "start\tend\ttext\nfirst\n"),
        ("txt", "\udcff"),
    ],
)
def test_what_is_no_transcript_is_different(suffix: str, text: str, tmp_path: Path) -> None:
    one, odd = transcript(tmp_path / f"1.{suffix}", WORDS), tmp_path / f"2.{suffix}"
    odd.write_text(text, "utf-8", errors="surrogateescape")
    found = transcripts(one, odd)
    assert (found.level, found.sentence) == (Level.DIFFERENT, f"the other is not what a .{suffix} file should be")


def captions(path: Path, *told: tuple[float, str], model: str = "blip-base") -> Path:
    entries = [{"seconds": seconds, "text": text} for seconds, text in told]
    path.write_text(json.dumps({"version": 1, "model": model, "captions": entries, "description": "..."}))
    return path


def test_captions_are_close_when_their_texts_and_times_are_equal(tmp_path: Path) -> None:
    told = ((0.5, "a dog on a beach"), (1.5, "the sea at night"))
    one = captions(tmp_path / "1.json", *told)
    found = compare(one, captions(tmp_path / "2.json", *told, model="other"), caption.SERVICE.compare)
    assert (found.level, found.figures["differing_words"]) == (Level.CLOSE, 0)
    found = compare(one, captions(tmp_path / "2.json", (0.5, "a cat on a beach"), told[1]), caption.SERVICE.compare)
    assert found.level is Level.DIFFERENT
    assert found.sentence.startswith("1 of 9 words differ")
    found = compare(one, captions(tmp_path / "2.json", told[0], (1.6, told[1][1])), caption.SERVICE.compare)
    assert (found.level, found.figures["times_differ_seconds"]) == (Level.DIFFERENT, 0.1)


def test_a_long_transcript_is_compared_in_reasonable_time(tmp_path: Path) -> None:
    long = [f"w{number * number % 997}" for number in range(20_000)]
    one = transcript(tmp_path / "1.txt", long)
    other = transcript(tmp_path / "2.txt", [word if number % 500 else "x" for number, word in enumerate(long)])
    assert transcripts(one, other).figures["differing_words"] == 40
