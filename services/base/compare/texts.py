"""Transcripts and captions compared by their words, and by when they are said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import chain
from pathlib import Path

from services.base.compare import Comparison, Level, Texts, Unreadable

CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+)[.,](\d+) --> (?:(\d+):)?(\d+):(\d+)[.,](\d+)")


@dataclass(frozen=True)
class Cue:
    """A piece of text, and its times in seconds where they are told."""

    times: tuple[float, ...]
    text: str


Moment = tuple[float, float]
"""When something happens, in seconds: not before the first, not after the second."""


@dataclass(frozen=True)
class Word:
    """A word, and when it begins and ends as far as its cue tells, if that has times."""

    text: str
    begin: Moment | None
    end: Moment | None


Step = tuple[str, int, int, int, int]
"""What makes one text the other, as difflib tells it: how, and the places of the words from and to, in either."""


@dataclass(frozen=True)
class Differing:
    """The places, in either text, of the words that differ, and how many that are."""

    one: frozenset[int]
    other: frozenset[int]
    count: int


def compare(one: Path, other: Path, share: float, seconds: float) -> Comparison:
    """Compare two texts: close where at most a `share` of the words differs, and times by at most so many `seconds`.

    Words are what stands between spaces, with their marks. Raises Unreadable.
    """
    ours, theirs = (read(path, name) for path, name in ((one, "the first"), (other, "the other")))
    words, theirs_words = ([word for cue in cues for word in _words(cue)] for cues in (ours, theirs))
    steps = _steps([word.text for word in words], [word.text for word in theirs_words])
    total, count = max(len(words), len(theirs_words)), _differing(steps).count
    gaps = [*_cue_gaps(ours, theirs), *_word_gaps(words, theirs_words, steps)]
    shift = round(max(gaps), 3) if gaps else None
    close = count <= share * total and (shift or 0.0) <= seconds
    figures = {
        "words": total,
        "differing_words": count,
        "cues": [len(ours), len(theirs)],
        "times_differ_seconds": shift,
    }
    exhibit = Texts(tuple(cue.text for cue in ours), tuple(cue.text for cue in theirs))
    allowed = f"(close is {share * total:.0f} words, {seconds:g} s)"
    sentence = f"{count} of {total} words differ{_late(shift)} {allowed}"
    return Comparison(Level.CLOSE if close else Level.DIFFERENT, figures, sentence, exhibit)


def _late(shift: float | None) -> str:
    return "" if shift is None else f"; times differ by up to {shift:.3f} s"


def differing(one: Sequence[str], other: Sequence[str]) -> Differing:
    """Which words differ. Replacing some by more or fewer counts as the greater number."""
    return _differing(_steps(one, other))


def _steps(one: Sequence[str], other: Sequence[str]) -> Sequence[Step]:
    return SequenceMatcher(None, one, other, autojunk=False).get_opcodes()


def _differing(steps: Iterable[Step]) -> Differing:
    ours: set[int] = set()
    theirs: set[int] = set()
    count = 0
    for how, start, end, there, until in steps:
        if how != "equal":
            ours.update(range(start, end))
            theirs.update(range(there, until))
            count += max(end - start, until - there)
    return Differing(frozenset(ours), frozenset(theirs), count)


def _words(cue: Cue) -> Iterator[Word]:
    """The words of a cue. Only the first begins when it does, and the last ends so; each is said in between."""
    words, within = cue.text.split(), cue.times[:2]
    begin, end = ((time, time) for time in (within[0], within[-1])) if within else (None, None)
    between = (within[0], within[-1]) if within else None
    for place, text in enumerate(words):
        yield Word(text, between if place else begin, end if place == len(words) - 1 else between)


def _cue_gaps(ours: Sequence[Cue], theirs: Sequence[Cue]) -> Iterator[float]:
    """What the times of cues differ by: one by one where there are as many, else of those with one text."""
    pairs = list(zip(ours, theirs, strict=False))
    if len(ours) != len(theirs):
        matcher = SequenceMatcher(None, [cue.text for cue in ours], [cue.text for cue in theirs], autojunk=False)
        blocks = matcher.get_matching_blocks()
        pairs = [(ours[at + n], theirs[there + n]) for at, there, length in blocks for n in range(length)]
    yield from (abs(a - b) for one, other in pairs for a, b in zip(one.times, other.times, strict=False))


def _word_gaps(ours: Sequence[Word], theirs: Sequence[Word], steps: Iterable[Step]) -> Iterator[float]:
    """What the times differ by at least, at which the same words begin and end, and those that stand for others."""
    for how, start, end, there, until in steps:
        if how == "equal":
            pairs = zip(ours[start:end], theirs[there:until], strict=True)
            yield from chain.from_iterable(_apart(one, one, other, other) for one, other in pairs)
        elif how == "replace":
            yield from _apart(ours[start], ours[end - 1], theirs[there], theirs[until - 1])


def _apart(first: Word, last: Word, their_first: Word, their_last: Word) -> Iterator[float]:
    for one, other in ((first.begin, their_first.begin), (last.end, their_last.end)):
        if one and other:
            yield max(one[0] - other[1], other[0] - one[1], 0.0)


def read(path: Path, name: str = "it") -> list[Cue]:
    """The cues of a transcript or of captions, by the file's suffix. Raises Unreadable for what is none."""
    try:
        text = path.read_text("utf-8")
        return list(READERS.get(path.suffix.lower(), _lines)(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unreadable(f"{name} is not what a {path.suffix} file should be") from error


def _lines(text: str) -> Iterator[Cue]:
    yield from (Cue((), line) for line in text.splitlines())


def _subtitles(text: str) -> Iterator[Cue]:
    """Cues of SubRip and WebVTT: what follows a line of two times, up to an empty one."""
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        head, _, body = block.partition(found[0]) if (found := CLOCK.search(block)) else (block, "", "")
        if found:
            yield Cue((_seconds(found.groups()[:4]), _seconds(found.groups()[4:])), " ".join(body.split()))
        elif head.strip() not in ("", "WEBVTT"):
            raise ValueError("a block without times")


def _seconds(parts: Iterable[str | None]) -> float:
    hours, minutes, seconds, rest = (part or "0" for part in parts)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{rest}")


def _tsv(text: str) -> Iterator[Cue]:
    for line in text.splitlines()[1:]:
        start, end, said = line.split("\t", 2)
        yield Cue((int(start) / 1000, int(end) / 1000), said)


def _json(text: str) -> Iterator[Cue]:
    """Cues of transcribe's and of caption's documents."""
    document = json.loads(text)
    if "captions" in document:
        yield from (Cue((float(entry["seconds"]),), str(entry["text"])) for entry in document["captions"])
    else:
        for entry in document["segments"]:
            inner = [float(word[side]) for word in entry.get("words", []) for side in ("start", "end")]
            yield Cue((float(entry["start"]), float(entry["end"]), *inner), str(entry["text"]))


READERS = {".srt": _subtitles, ".vtt": _subtitles, ".tsv": _tsv, ".json": _json}
