"""What `tag.py` makes of frames: tags, moods and embeddings, the same each time, from models as open_clip saves them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.checkpoints import clip as checkpoint

from .runs import Run, part
from .scripted import start

VOCABULARY = """
version = "7"
[templates]
tags = ["a photo of {}.", "a picture of {}."]
[tags]
dog = "a dog"
sea = ["the sea", "the ocean"]
night = "the night"
[moods]
calm = "a calm scene"
tense = ["a tense scene"]
"""
PARAMS = {"model": "tiny", "source": "hf:test/tiny", "top": 2, "fps": 1.0, "threads": 1}


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint.save(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def vocabulary(tmp_path: Path) -> Path:
    (tmp_path / "mine.toml").write_text(VOCABULARY)
    return tmp_path / "mine.toml"


def frames(path: Path, count: int, seed: int = 0) -> Path:
    """A file of noisy frames, a second apart."""
    source = np.random.default_rng(seed)
    with part("_frames").writing(path) as writer:
        for number in range(count):
            noise = source.integers(0, 255, (32, 32, 3), dtype=np.uint8) // (1 + number % 3)
            writer.add(float(number), Image.fromarray(noise))
    return path


def tag(folder: Path, *inputs: Path, models: dict[str, Path], **more: Any) -> Run:
    options = {name: more.pop(name) for name in ("ease", "env") if name in more}
    return start("tag.py", folder, *inputs, params=PARAMS | more, models=models, **options)


def document(run: Run, index: int = 0) -> Any:
    return json.loads(run.output(index).read_text("utf-8"))


def rows(embeddings: dict[str, Any], name: str) -> np.ndarray:
    assert embeddings["dtype"] == "float16"
    return np.frombuffer(base64.b64decode(embeddings[name]), "<f2").reshape(-1, embeddings["dim"]).astype(np.float32)


def test_tags_moods_and_embeddings_are_told(model: Path, vocabulary: Path, tmp_path: Path) -> None:
    clip = frames(tmp_path / "f.mov", 20)
    run = tag(tmp_path / "job", clip, models={"model": model, "vocabulary": vocabulary})
    found = document(run)
    assert [found[name] for name in ("version", "model", "source", "vocabulary")] == [1, "tiny", "hf:test/tiny", "7"]
    assert len(found["tags"]) == 2
    assert {entry["mood"] for entry in found["moods"]} == {"calm", "tense"}
    assert sum(entry["score"] for entry in found["moods"]) == pytest.approx(1, abs=2e-4)
    for entry in (*found["tags"], *found["moods"]):
        assert set(entry["seconds"]) <= {float(number) for number in range(20)}
        assert 1 <= len(entry["seconds"]) <= 3
    embeddings = found["embeddings"]
    assert embeddings["times"] == [float(number) for number in range(20)]
    frames_, (mean,) = rows(embeddings, "frames"), rows(embeddings, "mean")
    assert frames_.shape == (20, 32)
    assert np.linalg.norm(frames_, axis=1) == pytest.approx(1, abs=2e-3)
    assert mean == pytest.approx(frames_.mean(axis=0) / np.linalg.norm(frames_.mean(axis=0)), abs=2e-3)
