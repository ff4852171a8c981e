"""Subtitles: whatever was heard, every format can be read back by a strict reader, and all say the same."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .runs import part

subtitles = part("_subtitles")
Cue, Word = subtitles.Cue, subtitles.Word

Read = list[tuple[int, int, str]]
ABOUT = {"language": "en", "model": "base", "engine": "whisper", "task": "transcribe", "duration": 60.0}
CLOCK = r"(\d\d+):([0-5]\d):([0-5]\d)%s(\d{3})"
HOSTILE = [
    "a --> b",
    "00:00:01,000 --> 00:00:02,000",
    "<i>not</i> a & tag &amp; <00:00:01.000>",
    "one\n\ntwo\r\n3\n",
    "tab\there, nul\0 and bell\a",
    "separators \u2028 \u2029 \x85 end",
    "WEBVTT",
    "NOTE nothing",
    "42",
    "\ud800 lone",
    "\u200fשלום‏ 你好 é 👩‍💻",
    " \u00a0 ",
    "",
]


def milliseconds(clock: str, mark: str) -> int:
    """Strictly: HH:MM:SS and three digits."""
    found = re.fullmatch(CLOCK % re.escape(mark), clock)
    assert found, clock
    hours, minutes, seconds, rest = map(int, found.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


def times(line: str, mark: str) -> tuple[int, int]:
    start, arrow, end = line.split(" ")
    assert arrow == "-->"
    return milliseconds(start, mark), milliseconds(end, mark)


def read_srt(text: str) -> Read:
    """SubRip: numbered blocks of number, times and one line, with an empty line between them."""
    cues = []
    for number, block in enumerate(text.removesuffix("\n").split("\n\n") if text else [], 1):
        counted, clock, said = block.split("\n")
        assert counted == str(number)
        assert "-->" not in said
        cues.append((*times(clock, ","), said))
    return cues


def read_vtt(text: str) -> Read:
    """WebVTT: its header, then blocks of times and one line, in which only entities may be."""
    head, *blocks = text.removesuffix("\n").split("\n\n")
    assert head == "WEBVTT"
    cues = []
    for block in blocks:
        clock, said = block.split("\n")
        assert not re.search(r"[<>]|&(?!(amp|lt|gt);)", said), said
        cues.append((*times(clock, "."), html.unescape(said)))
    return cues


def read_tsv(text: str) -> Read:
    head, *lines = text.split("\n")
    assert head == "start\tend\ttext"
    assert lines.pop() == ""
    rows = [line.split("\t") for line in lines]
    assert all(len(row) == 3 for row in rows)
    return [(int(start), int(end), said) for start, end, said in rows]


def read_json(text: str) -> Read:
    whole = json.loads(text)
    assert [segment["id"] for segment in whole["segments"]] == list(range(len(whole["segments"])))
    return [(round(s["start"] * 1000), round(s["end"] * 1000), s["text"]) for s in whole["segments"]]


def write(cues: list[Any], format_: str) -> str:
    return str(subtitles.FORMATS[format_](cues, ABOUT))


def check(cues: list[Any], length: int) -> None:
    """All formats can be read, agree to the millisecond, and hold nothing that overlaps, is empty, or comes after."""
    read = read_json(write(cues, "json"))
    assert read_tsv(write(cues, "tsv")) == read
    assert read_vtt(write(cues, "vtt")) == read
    assert read_srt(write(cues, "srt")) == [(start, end, said.replace("-->", "->")) for start, end, said in read]
    assert write(cues, "txt") == "".join(f"{said}\n" for _, _, said in read)
    ends = 0
    for start, end, said in read:
        assert ends <= start < end <= length
        assert said.strip() == said != ""
        assert said.isprintable() or re.search("[\u200b-\u200f\ue000-\uf8ff]", said) or not said.isascii()
        ends = end


spoken = st.builds(
    Cue,
    st.integers(-100, 70_000),
    st.integers(-100, 70_000),
    st.one_of(st.text(max_size=40), st.sampled_from(HOSTILE)),
    st.lists(
        st.builds(Word, st.integers(-100, 70_000), st.integers(-100, 70_000), st.text(max_size=8), st.just(0.5)),
        max_size=3,
    ).map(tuple),
)


@given(st.lists(spoken, max_size=8), st.integers(1, 60_000))
def test_whatever_is_heard_makes_subtitles_that_can_be_read(cues: list[Any], length: int) -> None:
    tidy = subtitles.tidy(cues, length)
    check(tidy, length)
    for cue in tidy:
        moments = [cue.start, *(moment for word in cue.words for moment in (word.start, word.end)), cue.end]
        assert moments == sorted(moments)
    assert subtitles.tidy(tidy, length) == tidy


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words(text: str) -> None:
    cues = subtitles.tidy([Cue(0, 1000, text), Cue(1000, 2000, "after")], 60_000)
    check(cues, 60_000)
    assert cues[-1].text == "after"


def test_cues_that_overlap_are_parted_and_none_is_lost() -> None:
    heard = [Cue(0, 5000, "one"), Cue(4000, 8000, "two"), Cue(4500, 7000, "three"), Cue(9000, 9000, "four")]
    found = [(cue.start, cue.end, cue.text) for cue in subtitles.tidy(heard, 60_000)]
    assert found == [(0, 5000, "one"), (5000, 8000, "two three four")]


def test_numbers_of_cues_that_were_joined_are_those_of_both_on_one_line() -> None:
    heard = [
        Cue(4000, 8000, "[\n1, 2]  [3]", more={"temperature": 0.0, "tokens": [50364, 7]}),
        Cue(4500, 7000, "two", more={"temperature": 0.2, "tokens": [8]}),
    ]
    text = write(subtitles.tidy(heard, 60_000), "json")
    (segment,) = json.loads(text)["segments"]
    assert (segment["text"], segment["temperature"]) == ("[ 1, 2] [3] two", 0.0)
    assert '"tokens": [50364, 7, 8]\n' in text


def test_what_is_heard_after_the_end_was_not_said() -> None:
    heard = [Cue(0, 2000, "one"), Cue(1800, 9000, "two"), Cue(3000, 9000, "Thank you.")]
    assert [(cue.end, cue.text) for cue in subtitles.tidy(heard, 2500)] == [(2000, "one"), (2500, "two")]


def test_words_stay_within_their_cue() -> None:
    words = (Word(-50, 900, " and", 0.9), Word(800, 3000, " so", 0.8), Word(10, 20, "\n", 0.1))
    (cue,) = subtitles.tidy([Cue(0, 1000, "and so", words)], 60_000)
    assert [(word.start, word.end, word.text) for word in cue.words] == [(0, 900, "and"), (900, 1000, "so")]
    (segment,) = json.loads(write([cue], "json"))["segments"]
    assert [word["word"] for word in segment["words"]] == ["and", "so"]


def test_hours_are_written() -> None:
    late = [Cue(36_000_000 - 1, 360_000_000, "late")]
    assert "09:59:59,999 --> 100:00:00,000" in write(late, "srt")
    check(late, 360_000_000)


def test_nothing_said_is_a_file_of_each_format_all_the_same() -> None:
    assert {name: write([], name) for name in ("txt", "srt", "vtt", "tsv")} == {
        "txt": "",
        "srt": "",
        "vtt": "WEBVTT\n",
        "tsv": "start\tend\ttext\n",
    }
    assert json.loads(write([], "json")) == {**ABOUT, "text": "", "segments": []}
