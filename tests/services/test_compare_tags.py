"""Tags compared: cosines, scores and ranks, and the level that they reach."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services import tag
from services.base.compare import Comparison, Level, Scores, compare

RNG = np.random.default_rng(3)
FRAMES = RNG.normal(size=(5, 64))
FRAMES /= np.linalg.norm(FRAMES, axis=1, keepdims=True)
SCORES = {"beach": 0.5, "sea": 0.3, "dog": 0.1}


def tags(
    path: Path, frames: np.ndarray = FRAMES, scores: dict[str, float] = SCORES, weights: str = "w", **other: Any
) -> Path:
    """A tags.json, as far as it is compared."""
    halves = np.asarray(frames, "<f2")
    embeddings = {
        "dtype": "float16",
        "dim": halves.shape[1],
        "times": [float(n) for n in range(len(halves))],
        "frames": base64.b64encode(halves.tobytes()).decode(),
    }
    told = [{"tag": word, "score": score, "similarity": 0.2, "seconds": [0.0]} for word, score in scores.items()]
    moods = [{"mood": "calm", "score": 1.0, "similarity": 0.2, "seconds": [0.0]}]
    document = {"weights": weights, "tags": told, "moods": moods, "embeddings": embeddings | other}
    path.write_text(json.dumps(document))
    return path


def compared(one: Path, other: Path) -> Comparison:
    return compare(one, other, tag.SERVICE.compare)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    a, b = (np.asarray(frames, "<f2").astype(float) for frames in (one, other))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_the_rounding_of_another_device_is_close_and_the_cosines_are_right(tmp_path: Path) -> None:
    moved = FRAMES + RNG.normal(scale=5e-4, size=FRAMES.shape) / 8
    found = compared(
        tags(tmp_path / "1.json"), tags(tmp_path / "2.json", moved, {"beach": 0.495, "sea": 0.305, "dog": 0.1})
    )
    expected = cosines(FRAMES, moved)
    assert found.level is Level.CLOSE
    assert found.figures["worst_cosine"] == pytest.approx(expected.min(), abs=1e-7)
    assert found.figures["mean_cosine"] == pytest.approx(expected.mean(), abs=1e-7)
    assert found.figures["score_difference"] == pytest.approx(0.005)
    assert found.figures["rank_changes"] == 0
    assert isinstance(found.exhibit, Scores)
    assert found.exhibit.rows[0] == ("tags: beach", 0.5, 0.495)


def test_equal_bytes(tmp_path: Path) -> None:
    assert compared(tags(tmp_path / "1.json"), tags(tmp_path / "2.json")).level is Level.BYTES


def test_one_frame_in_another_direction_is_different(tmp_path: Path) -> None:
    moved = FRAMES.copy()
    moved[3] += 0.003 * RNG.normal(size=64)
    found = compared(tags(tmp_path / "1.json"), tags(tmp_path / "2.json", moved))
    assert found.level is Level.DIFFERENT
    assert found.figures["worst_cosine"] == pytest.approx(cosines(FRAMES, moved)[3], abs=1e-7)
    assert 0.999 < found.figures["worst_cosine"] < tag.CLOSE_COSINE


def test_other_scores_and_ranks_are_told(tmp_path: Path) -> None:
    found = compared(
        tags(tmp_path / "1.json"), tags(tmp_path / "2.json", scores={"sea": 0.45, "beach": 0.35, "dog": 0.1})
    )
    assert found.level is Level.DIFFERENT
    assert (found.figures["score_difference"], found.figures["rank_changes"]) == (0.15, 2)
    assert "2 words at another rank" in found.sentence


@pytest.mark.parametrize(("score", "level"), [(0.11, Level.CLOSE), (0.13, Level.DIFFERENT)])
def test_a_word_that_is_told_once_has_at_most_the_least_score_elsewhere(
    score: float, level: Level, tmp_path: Path
) -> None:
    other = {"beach": 0.5, "sea": 0.3, "cat": score}
    found = compared(tags(tmp_path / "1.json"), tags(tmp_path / "2.json", scores=other))
    assert found.figures["score_difference"] == pytest.approx(score - 0.1)
    assert (found.level, found.figures["rank_changes"]) == (level, 2)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"weights": "v"}, "made with other weights"),
        ({"times": [0.0, 1.0, 2.0, 3.0, 9.0]}, "at other times"),
        ({"frames": np.eye(4, 64)}, "5 frames in the first, 4 in the other"),
        ({"frames": np.eye(5, 32)}, "or of another size"),
    ],
)
def test_what_cannot_be_laid_side_by_side(other: dict[str, Any], said: str, tmp_path: Path) -> None:
    found = compared(tags(tmp_path / "1.json"), tags(tmp_path / "2.json", **other))
    assert found.level is Level.DIFFERENT
    assert said in found.sentence


@pytest.mark.parametrize("other", [{"dim": 0}, {"dim": "x"}, {"times": []}, {"frames": None}, {"frames": "AAAA"}])
def test_what_is_no_file_of_tags_is_different(other: dict[str, Any], tmp_path: Path) -> None:
    odd = tags(tmp_path / "2.json")
    document = json.loads(odd.read_text())
    odd.write_text(json.dumps(document | {"embeddings": document["embeddings"] | other}))
    found = compared(tags(tmp_path / "1.json"), odd)
    assert (found.level, found.sentence) == (Level.DIFFERENT, "the other is no file of tags")


def test_what_is_no_number_is_no_direction(tmp_path: Path) -> None:
    odd = tags(tmp_path / "2.json", np.full((5, 64), np.nan))
    assert compared(tags(tmp_path / "1.json"), odd).sentence == "the other is no file of tags"
