# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "av==18.1.0", "numpy>=2,<3", "open_clip_torch==3.3.0", "pillow==13.0.0", "torch>=2.10,<3", "torchvision>=0.25",
# ]
#
# [tool.offload]
# take-from-target = ["torch"]
# ///
"""Find the frames, among those tagged before, that show what a text says.

    params:  text, top (moments that are told), threads (0: all cores but one)
    models:  model, the one that the frames were tagged with
    input:   [{"weights": sha256, "dim": 512, "times": [0.0, ...], "frames": base64}, ...], each from a tags.json
    output:  moments.json: [{"clip": place in the input, "seconds": 4.0, "score": 0.31}, ...], the best first

A score is the cosine of text and frame. Of frames of one clip that are near each other only the best is told.
"""

from __future__ import annotations

import base64
import functools
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import _clip
import _torch
import numpy as np
from _job import BadInput, Item, Job, Result, run

NEAR_SECONDS = 5.0
DIGITS = 4


def search(job: Job, item: Item) -> Result:
    """Search one collection."""
    clips = json.loads(item.input.read_text("utf-8"))
    with _torch.needing("tag"):
        model, wanted = _query(job)
    moments = sorted(_moments(clips, model, wanted), key=lambda moment: -moment["score"])
    path = item.out / "moments.json"
    path.write_text(json.dumps(moments[: job.params["top"]]), "utf-8")
    return Result((path,))


@functools.cache
def _query(job: Job) -> tuple[_clip.Clip, np.ndarray]:
    device = _torch.ready(job.params["threads"], job.ease)
    model = _clip.load(job.models["model"], device)
    job.emit("versions", versions=_torch.versions(device))
    return model, model.texts([job.params["text"]])[0]


def _moments(clips: list[dict[str, Any]], model: _clip.Clip, wanted: np.ndarray) -> Iterator[dict[str, Any]]:
    for number, clip in enumerate(clips):
        if clip["weights"] != model.sha256 or clip["dim"] != len(wanted):
            raise BadInput("some clips were tagged with other weights than the model has now; tag them again")
        for seconds, score in _best(clip["times"], _frames(clip) @ wanted):
            yield {"clip": number, "seconds": seconds, "score": score}


def _frames(clip: Mapping[str, Any]) -> np.ndarray:
    numbers = np.frombuffer(base64.b64decode(clip["frames"]), "<f2").astype(np.float32)
    return numbers.reshape(len(clip["times"]), clip["dim"])


def _best(times: list[float], scores: np.ndarray) -> Iterator[tuple[float, float]]:
    told: list[float] = []
    for place in np.argsort(-scores.round(DIGITS), kind="stable"):
        if all(abs(times[place] - other) >= NEAR_SECONDS for other in told):
            told.append(times[place])
            yield times[place], round(float(scores[place]), DIGITS)


if __name__ == "__main__":
    sys.exit(run(search))
