"""Subtitles and transcripts, every format from one list of cues.

A cue's times are whole milliseconds, so that they are the same in all formats. No cue is empty, none begins before the
one before it has ended, and none ends after the sound.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

UNSEEN = ("Cc", "Cs", "Zl", "Zp")  # Unicode categories: controls, lone surrogates, separators of lines
NUMBERS = re.compile(r"\[\n([\d,\s]+)\]")
"""A list of whole numbers as `json` indents it. No string has a line break in JSON."""
SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029"


@dataclass(frozen=True)
class Word:
    """One word, with its times in milliseconds, and how sure the model is of it (0-1)."""

    start: int
    end: int
    text: str
    probability: float


@dataclass(frozen=True)
class Cue:
    """What is shown from `start` to `end`, in milliseconds. `more` is what else is known of it."""

    start: int
    end: int
    text: str
    words: tuple[Word, ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)


def plain(text: str) -> str:
    """`text` on one line, without characters that nobody sees, and with single spaces."""
    spaced = (" " if char in SPACES else char for char in text)
    return " ".join("".join(char for char in spaced if unicodedata.category(char) not in UNSEEN).split())


def tidy(cues: Iterable[Cue], length: int) -> list[Cue]:
    """`cues` in order, none empty, none overlapping, none after `length` (milliseconds).

    One that lies wholly within the one before it is joined to it: its words are not lost.
    """
    kept: list[Cue] = []
    for cue in sorted(cues, key=lambda cue: (cue.start, cue.end)):
        cue = replace(cue, text=plain(cue.text), start=max(0, cue.start), end=min(cue.end, length))
        start = max(cue.start, kept[-1].end) if kept else cue.start
        if not cue.text or cue.start >= length:
            continue
        if start < cue.end:
            kept.append(_fitted(replace(cue, start=start)))
        elif kept:
            kept[-1] = _joined(kept[-1], cue)
    return kept


def _joined(cue: Cue, other: Cue) -> Cue:
    lists = {name: [*value, *other.more.get(name, ())] for name, value in cue.more.items() if isinstance(value, list)}
    text, more = f"{cue.text} {other.text}", {**cue.more, **lists}
    return _fitted(replace(cue, text=text, words=cue.words + other.words, more=more))


def _fitted(cue: Cue) -> Cue:
    """The cue with its words inside it, in order, each ending no later than the next one begins."""
    words, last = [], cue.start
    for word in cue.words:
        start = min(max(word.start, last), cue.end)
        last = min(max(word.end, start), cue.end)
        words.append(replace(word, start=start, end=last, text=plain(word.text)))
    return replace(cue, words=tuple(word for word in words if word.text))


def txt(cues: Sequence[Cue], about: Mapping[str, Any]) -> str:
    """The words alone, a cue a line."""
    return "".join(f"{cue.text}\n" for cue in cues)


def srt(cues: Sequence[Cue], about: Mapping[str, Any]) -> str:
    """SubRip. It has no escapes: an arrow, which some readers take for times, is shortened."""
    blocks = (
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text.replace('-->', '->')}\n"
        for number, cue in enumerate(cues, 1)
    )
    return "\n".join(blocks)


def vtt(cues: Sequence[Cue], about: Mapping[str, Any]) -> str:
    """WebVTT, with the escapes that its cue text needs."""
    blocks = (f"\n{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_escaped(cue.text)}\n" for cue in cues)
    return "WEBVTT\n" + "".join(blocks)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def tsv(cues: Sequence[Cue], about: Mapping[str, Any]) -> str:
    """Tab-separated: start and end in milliseconds, and the text."""
    return "start\tend\ttext\n" + "".join(f"{cue.start}\t{cue.end}\t{cue.text}\n" for cue in cues)


def json_(cues: Sequence[Cue], about: Mapping[str, Any]) -> str:
    """All that is known, times in seconds: `about` the whole, its text, and each cue with its words."""
    whole = {**about, "text": " ".join(cue.text for cue in cues), "segments": [*map(_segment, range(len(cues)), cues)]}
    return NUMBERS.sub(_on_one_line, json.dumps(whole, ensure_ascii=False, indent=2)) + "\n"


def _on_one_line(found: re.Match[str]) -> str:
    return f"[{' '.join(found[1].split())}]"


def _segment(number: int, cue: Cue) -> dict[str, Any]:
    words = [
        {"start": word.start / 1000, "end": word.end / 1000, "word": word.text, "probability": word.probability}
        for word in cue.words
    ]
    times = {"id": number, "start": cue.start / 1000, "end": cue.end / 1000, "text": cue.text}
    return {**times, **cue.more, **({"words": words} if words else {})}


def _clock(milliseconds: int, mark: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{rest:03}"


FORMATS: Mapping[str, Callable[[Sequence[Cue], Mapping[str, Any]], str]] = {
    "txt": txt,
    "srt": srt,
    "vtt": vtt,
    "tsv": tsv,
    "json": json_,
}
"""Writers by format: (cues, what is known of the whole) -> the file's text."""
