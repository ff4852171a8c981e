# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "av==18.1.0", "numpy>=2,<3", "open_clip_torch==3.3.0", "pillow==13.0.0", "torch>=2.10,<3", "torchvision>=0.25",
# ]
#
# [tool.offload]
# take-from-target = ["torch"]
# ///
"""Say what the frames of a clip show, in tags and moods, and in numbers to search by.

    params:  model and source (as the result names them), top (tags that are told), threads (0: all cores but one)
    models:  model (a folder as open_clip's repositories have it), vocabulary (see services/vocabulary.toml),
             and additions (one more, whose tags and moods are added, or take the place of those of the same name)
    input:   frames, as extract_frames.py writes them
    output:  tags.json

tags.json holds, in this order:

    {"version": 1, "model": "ViT-B-32", "source": "hf:...", "weights": sha256, "vocabulary": "1",
     "tags": [{"tag": "beach", "score": 0.61, "similarity": 0.27, "seconds": [4.0, 5.0]}, ...],
     "moods": [{"mood": "calm", "score": 0.48, "similarity": 0.22, "seconds": [7.0]}, ...],
     "embeddings": {"dtype": "float16", "dim": 512, "fps": 1.0, "times": [0.0, 1.0, ...], "mean": ..., "frames": ...}}

Embeddings are directions of length 1: that of each frame, and their mean, made of length 1 again; base64 of
little-endian numbers, row after row. A tag's direction is the mean over its phrases, each in each template. Its
`similarity` is the cosine to the clip's mean. Its `score` is its share among all tags, by softmax of cosine / 0.01
(the temperature that CLIP is trained to), a frame at a time, and then the mean over the frames: a tag of a quarter of
the clip can have 0.25. `seconds` are the times of the frames that are most similar to it, three at most, the strongest
first. Moods, which are all told, are weighed among themselves in the same way.
"""

from __future__ import annotations

import base64
import functools
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import _clip
import _frames
import _torch
import numpy as np
import PIL
from _job import BadInput, Item, Job, Result, run

VERSION = 1  # of tags.json
BATCH = 16  # frames at once; it changes results by 1e-6, so it is the same everywhere
EASED = 1  # frames at once where memory ran out before
TEMPERATURE = 0.01
MOST_SECONDS = 3
DIGITS = 4  # of scores: what is beyond differs from processor to processor


@dataclass(frozen=True)
class Words:
    """Tags, or moods: their names, and a direction for each."""

    names: tuple[str, ...]
    directions: np.ndarray


@dataclass(frozen=True)
class Tagger:
    """What is loaded once for all items. `words` has those of the vocabulary's two kinds."""

    clip: _clip.Clip
    version: str
    words: Mapping[str, Words]


def tag(job: Job, item: Item) -> Result:
    """Tag one input."""
    with _torch.needing("tag"):
        return _tag(job, item)


def _tag(job: Job, item: Item) -> Result:
    tagger = _tagger(job)
    times, frames = _directions(job, item, tagger.clip)
    mean = _unit(frames.mean(axis=0))
    told = {kind: _weigh(words, kind[:-1], times, frames, mean) for kind, words in tagger.words.items()}
    document = {
        "version": VERSION,
        **{name: job.params[name] for name in ("model", "source")},
        "weights": tagger.clip.sha256,
        "vocabulary": tagger.version,
        "tags": told["tags"][: job.params["top"]],
        "moods": told["moods"],
        "embeddings": _embeddings(job.params["fps"], times, mean, frames),
    }
    path = item.out / "tags.json"
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", "utf-8")
    best = [entry["tag"] for entry in document["tags"][:3]]
    return Result((path,), {"frames": len(times), "tags": best, "mood": next((m["mood"] for m in told["moods"]), "")})


@functools.cache  # the model is loaded once, however many items there are
def _tagger(job: Job) -> Tagger:
    version, kinds = _vocabulary([job.models[role] for role in ("vocabulary", "additions") if role in job.models])
    device = _torch.ready(job.params["threads"], job.ease)
    clip = _clip.load(job.models["model"], device)
    job.emit("versions", versions=_versions(device))
    return Tagger(clip, version, {kind: _words(clip, *found) for kind, found in kinds.items()})


def _vocabulary(folders: Sequence[Path]) -> tuple[str, dict[str, tuple[dict[str, Any], list[str]]]]:
    """The version, and for each kind its words and templates. Later vocabularies add to the first."""
    versions, words, templates = [], {"tags": {}, "moods": {}}, {"tags": ["{}"], "moods": ["{}"]}
    for folder in folders:
        (file,) = folder.iterdir()
        try:
            found = tomllib.loads(file.read_text("utf-8-sig"))
        except ValueError as error:
            raise BadInput(f"the vocabulary cannot be read: {error}") from error
        versions.append(str(found.get("version", "unnamed")))
        templates |= found.get("templates", {})
        for kind in words:
            words[kind] |= found.get(kind, {})
    return "+".join(versions), {kind: (words[kind], templates[kind]) for kind in words}


def _words(clip: _clip.Clip, words: Mapping[str, Any], templates: Sequence[str]) -> Words:
    texts, owners = [], []
    for number, phrases in enumerate(words.values()):
        said = [phrases] if isinstance(phrases, str) else phrases
        texts += [template.replace("{}", phrase) for phrase in said for template in templates]
        owners += [number] * (len(said) * len(templates))
    if not texts:
        return Words((), np.zeros((0, 1), np.float32))
    found, owner = clip.texts(texts), np.array(owners)
    return Words(tuple(words), np.stack([_unit(found[owner == number].mean(axis=0)) for number in range(len(words))]))


def _directions(job: Job, item: Item, clip: _clip.Clip) -> tuple[list[float], np.ndarray]:
    times: list[float] = []
    rows: list[np.ndarray] = []
    found, most = _frames.read(item.input), EASED if job.ease else BATCH
    while batch := list(islice(found, most)):
        times += [seconds for seconds, _ in batch]
        rows.append(clip.pictures([picture for _, picture in batch]))
        job.progress(item, 1 - 1 / (1 + len(times) / BATCH))  # how many there will be is not known
    if not rows:
        raise BadInput("there is no frame in the input")
    return times, np.concatenate(rows)


def _weigh(
    words: Words, name: str, times: Sequence[float], frames: np.ndarray, mean: np.ndarray
) -> list[dict[str, Any]]:
    """Name, score, similarity and strongest seconds of each word, the highest score first."""
    if not words.names:
        return []
    cosines = frames @ words.directions.T
    scores, similar = _softmax(cosines / TEMPERATURE).mean(axis=0), words.directions @ mean
    entries = [
        {
            name: word,
            "score": round(float(scores[number]), DIGITS),
            "similarity": round(float(similar[number]), DIGITS),
            "seconds": _strongest(times, cosines[:, number]),
        }
        for number, word in enumerate(words.names)
    ]
    # Those that are equal as far as they are told stand in the vocabulary's order.
    return sorted(entries, key=lambda entry: (-entry["score"], -entry["similarity"]))


def _strongest(times: Sequence[float], cosines: np.ndarray) -> list[float]:
    best = np.argsort(-cosines.round(DIGITS), kind="stable")[:MOST_SECONDS]
    return [round(times[place], 3) for place in best]


def _softmax(values: np.ndarray) -> np.ndarray:
    grown = np.exp(values - values.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)


def _unit(row: np.ndarray) -> np.ndarray:
    return row / np.linalg.norm(row)


def _embeddings(fps: float, times: Sequence[float], mean: np.ndarray, frames: np.ndarray) -> dict[str, Any]:
    return {
        "dtype": "float16",
        "dim": frames.shape[1],
        "fps": fps,
        "times": [round(seconds, 3) for seconds in times],
        "mean": _base64(mean),
        "frames": _base64(frames),
    }


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.astype("<f2").tobytes()).decode()


def _versions(device: str) -> dict[str, str]:
    import open_clip

    return {**_torch.versions(device), "open_clip": open_clip.__version__, "pillow": PIL.__version__}


if __name__ == "__main__":
    sys.exit(run(tag))
