"""Tags compared by the directions of the frames, as cosines, and by scores and ranks."""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from pathlib import Path

from services.base.compare import Comparison, Level, Scores, Unreadable

KINDS = (("tags", "tag"), ("moods", "mood"))
HALF = struct.calcsize("e")


@dataclass(frozen=True)
class Told:
    """What a tags.json says: the model's weights, scores by word in their order, and each frame's direction."""

    weights: str
    scores: dict[str, float]
    times: tuple[float, ...]
    frames: tuple[tuple[float, ...], ...]


def compare(one: Path, other: Path, cosine: float, score: float) -> Comparison:
    """Compare two files of tags: close where no frame's cosine is below `cosine`, and no scores differ by more.

    Raises Unreadable.
    """
    ours, theirs = read(one, "the first"), read(other, "the other")
    rows = tuple((word, ours.scores.get(word), theirs.scores.get(word)) for word in {**ours.scores, **theirs.scores})
    if why := _incomparable(ours, theirs):
        return Comparison(Level.DIFFERENT, {}, why, Scores(rows))
    cosines = [_cosine(a, b) for a, b in zip(ours.frames, theirs.frames, strict=True)]
    figures = {
        "frames": len(cosines),
        "worst_cosine": round(min(cosines), 7),
        "mean_cosine": round(sum(cosines) / len(cosines), 7),
        "score_difference": round(_gap(ours.scores, theirs.scores), 4),
        "rank_changes": _moved([*ours.scores], [*theirs.scores]),
    }
    close = figures["worst_cosine"] >= cosine and figures["score_difference"] <= score
    return Comparison(
        Level.CLOSE if close else Level.DIFFERENT, figures, _sentence(figures, cosine, score), Scores(rows)
    )


def _sentence(figures: dict[str, float], cosine: float, score: float) -> str:
    return (
        f"worst cosine {figures['worst_cosine']:.7f} of {figures['frames']} frames; scores differ by up to"
        f" {figures['score_difference']:.4f}; {figures['rank_changes']} words at another rank"
        f" (close is {cosine:g} and {score:g})"
    )


def _incomparable(ours: Told, theirs: Told) -> str:
    if ours.weights != theirs.weights:
        return "they were made with other weights"
    if [len(row) for row in ours.frames] != [len(row) for row in theirs.frames]:
        return f"{len(ours.frames)} frames in the first, {len(theirs.frames)} in the other, or of another size"
    return "" if ours.times == theirs.times else "they are of frames at other times"


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(map(mul, one, other)) / lengths if lengths else 0.0


def _gap(ours: dict[str, float], theirs: dict[str, float]) -> float:
    """The largest difference of a word's scores. One that is told once has, where it is not, the least told at most."""
    gaps = [abs(ours[word] - theirs[word]) for word in ours.keys() & theirs.keys()]
    for told, lacking in ((ours, theirs), (theirs, ours)):
        gaps += [told[word] - _least(lacking, _kind(word)) for word in told.keys() - lacking.keys()]
    return max(gaps, default=0.0)


def _least(scores: dict[str, float], kind: str) -> float:
    return min((score for word, score in scores.items() if _kind(word) == kind), default=0.0)


def _kind(word: str) -> str:
    return word.partition(":")[0]


def _moved(ours: Sequence[str], theirs: Sequence[str]) -> int:
    return sum(1 for word in {*ours, *theirs} if _place(word, ours) != _place(word, theirs))


def _place(word: str, words: Sequence[str]) -> int:
    return words.index(word) if word in words else -1


def read(path: Path, name: str = "it") -> Told:
    """What a tags.json says. Raises Unreadable for what is none."""
    try:
        document = json.loads(path.read_text("utf-8"))
        found = document["embeddings"]
        times = tuple(map(float, found["times"]))
        scores = {f"{kind}: {entry[key]}": float(entry["score"]) for kind, key in KINDS for entry in document[kind]}
        return Told(str(document["weights"]), scores, times, _rows(found["frames"], int(found["dim"]), len(times)))
    except (ValueError, KeyError, TypeError, RecursionError, struct.error) as error:
        raise Unreadable(f"{name} is no file of tags") from error


def _rows(text: str, dim: int, count: int) -> tuple[tuple[float, ...], ...]:
    data = base64.b64decode(text, validate=True)
    if dim < 1 or count < 1 or len(data) != HALF * dim * count:
        raise ValueError("not a number for each place")
    rows = tuple(struct.iter_unpack(f"<{dim}e", data))
    if not all(math.isfinite(number) for row in rows for number in row):
        raise ValueError("no number")
    return rows
