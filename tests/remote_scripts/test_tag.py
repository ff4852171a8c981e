"""What `tag.py` makes of frames: tags, moods and embeddings, the same each time, by models as open_clip saves them."""

from __future__ import annotations

import base64
import functools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.checkpoints import clip as checkpoint
from tests.services import everywhere

from .runs import Run, part
from .scripted import SCRIPTS, start

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
PHRASES = {"dog": ["a dog"], "sea": ["the sea", "the ocean"], "night": ["the night"]}
PARAMS = {"model": "tiny", "source": "hf:test/tiny", "top": 2, "fps": 1.0, "threads": 1}


REFUSING = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(f"the network was asked: {event} {arguments}")
sys.addaudithook(refuse)
"""
LOAD = """
import sys
from pathlib import Path
import _clip, _torch
from _job import ItemError
_torch.ready(1, 2)
for folder in sys.argv[1:]:
    try:
        print(_clip.load(Path(folder), "cpu").sha256)
    except ItemError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def model() -> Path:
    return everywhere.model(everywhere.TAG)


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "mine.toml"
    path.write_text(VOCABULARY)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two files of frames, one that is none, and one with a damaged picture."""
    folder = tmp_path_factory.mktemp("frames")
    whole = [frames(folder / f"{number}.mov", 18 + number, number) for number in range(2)]
    (folder / "text.mov").write_text("Dear diary")
    data = bytearray(whole[0].read_bytes())
    data[len(data) // 3 : len(data) // 3 + 200] = bytes(200)
    (folder / "damaged.mov").write_bytes(data)
    return [*whole, folder / "text.mov", folder / "damaged.mov"]


@pytest.fixture(scope="module")
def run(model: Path, vocabulary: Path, clips: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All of them tagged in one job, where whoever asks the network fails."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "sitecustomize.py").write_text(REFUSING)
    env = {"PYTHONPATH": str(folder)}
    return tag(folder / "job", *clips, models={"model": model, "vocabulary": vocabulary}, env=env)


def frames(path: Path, count: int, seed: int) -> Path:
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


def test_tags_moods_and_embeddings_are_told(run: Run) -> None:
    found = document(run, 1)
    assert [found[name] for name in ("version", "model", "source", "vocabulary")] == [1, "tiny", "hf:test/tiny", "7"]
    assert len(found["tags"]) == 2
    assert {entry["mood"] for entry in found["moods"]} == {"calm", "tense"}
    assert sum(entry["score"] for entry in found["moods"]) == pytest.approx(1, abs=2e-4)
    for entry in (*found["tags"], *found["moods"]):
        assert set(entry["seconds"]) <= {float(number) for number in range(19)}
        assert len(entry["seconds"]) == 3
    embeddings = found["embeddings"]
    assert embeddings["times"] == [float(number) for number in range(19)]
    each, (mean,) = rows(embeddings, "frames"), rows(embeddings, "mean")
    assert each.shape == (19, 32)
    assert np.linalg.norm(each, axis=1) == pytest.approx(1, abs=2e-3)
    assert mean == pytest.approx(each.mean(axis=0) / np.linalg.norm(each.mean(axis=0)), abs=2e-3)


def test_a_bad_input_fails_alone_and_no_network_is_asked(run: Run) -> None:
    assert [run.failure(index)[0] for index in (2, 3)] == ["bad_input"] * 2
    assert [run.done(index)["measured"]["frames"] for index in (0, 1)] == [18, 19]
    assert run.status == 0


def test_a_result_repeats_whatever_the_threads_and_the_company(
    run: Run, model: Path, vocabulary: Path, clips: list[Path], tmp_path: Path
) -> None:
    alone = tag(tmp_path / "job", clips[1], models={"model": model, "vocabulary": vocabulary}, threads=2)
    assert alone.output(0).read_bytes() == run.output(1).read_bytes() != run.output(0).read_bytes()
    assert len(run.of("versions")) == 1
    assert run.of("versions")[0]["versions"]["device"] == "cpu"


def test_scores_are_what_their_description_says(run: Run, model: Path, clips: list[Path]) -> None:
    """By open_clip's own functions, without anything of ours."""
    found = document(run)
    directions = np.stack([of_phrases(model, phrases) for phrases in PHRASES.values()])
    cosines = of_pictures(model, [picture for _, picture in part("_frames").read(clips[0])]) @ directions.T
    grown = np.exp(100 * cosines)
    scores = (grown / grown.sum(axis=1, keepdims=True)).mean(axis=0)
    best = np.argsort(-scores)[:2]
    assert [entry["tag"] for entry in found["tags"]] == [list(PHRASES)[number] for number in best]
    assert [entry["score"] for entry in found["tags"]] == pytest.approx(scores[best].tolist(), abs=2e-4)
    strongest = [float(cosines[:, number].argmax()) for number in best]
    assert [entry["seconds"][0] for entry in found["tags"]] == strongest


@functools.cache
def reference(model: Path) -> tuple[Any, Any]:
    part("_torch").mend_torchvision()
    import open_clip

    loaded = open_clip.create_model(f"local-dir:{model}", require_pretrained=True)
    return loaded.eval().requires_grad_(False), open_clip.get_tokenizer(f"local-dir:{model}")


def of_phrases(model: Path, phrases: list[str]) -> np.ndarray:
    loaded, tokenizer = reference(model)
    texts = [template.format(phrase) for phrase in phrases for template in ("a photo of {}.", "a picture of {}.")]
    mean = loaded.encode_text(tokenizer(texts), normalize=True).mean(dim=0)
    return np.asarray(mean / mean.norm())


def of_pictures(model: Path, pictures: list[Image.Image]) -> np.ndarray:
    import torch

    cfg = checkpoint.CONFIG["preprocess_cfg"]
    pixels = (np.stack([np.asarray(picture) for picture in pictures]) / 255 - cfg["mean"]) / cfg["std"]
    batch = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
    return np.asarray(reference(model)[0].encode_image(batch, normalize=True))


def test_additions_come_to_the_vocabulary_and_old_weights_mean_the_same(
    run: Run, vocabulary: Path, clips: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    old = checkpoint.save(tmp_path / "old", pickled=True)
    more = tmp_path / "more.toml"
    more.write_text('version = "mine"\n[tags]\nbeach = "a beach"\ndog = "a big dog"\n')
    models = {"model": old, "vocabulary": vocabulary, "additions": more}
    found, before = document(tag(tmp_path / "job", clips[0], models=models, top=9)), document(run)
    assert found["vocabulary"] == "7+mine"
    assert {entry["tag"] for entry in found["tags"]} == {"dog", "sea", "night", "beach"}
    assert found["moods"] == before["moods"]
    assert found["embeddings"] == before["embeddings"]
    assert found["weights"] != before["weights"]


def test_memory_that_ran_out_asks_for_smaller_batches(
    run: Run, model: Path, vocabulary: Path, clips: list[Path], tmp_path: Path
) -> None:
    eased = tag(tmp_path / "job", clips[0], models={"model": model, "vocabulary": vocabulary}, ease=2)
    assert len(eased.of("progress")) == 18 > len(run.of("progress")) == 2
    whole, small = (rows(document(one)["embeddings"], "frames") for one in (run, eased))
    assert small == pytest.approx(whole, abs=2e-3)


def test_a_model_that_cannot_be_one_is_named(model: Path, tmp_path: Path) -> None:
    names = ("whole", "poisoned", "cut", "empty", "other", "broken")
    folders = {name: Path(shutil.copytree(model, tmp_path / name)) for name in names}
    checkpoint.poison(folders["poisoned"], tmp_path / "opened")
    weights = folders["cut"] / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    (folders["empty"] / weights.name).unlink()
    (folders["other"] / "open_clip_config.json").unlink()
    (folders["broken"] / "open_clip_config.json").write_text("{")
    command = [sys.executable, "-c", LOAD, *map(str, folders.values())]
    done = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True)
    whole, *errors = done.stdout.splitlines()
    words = ("holds code", "cannot be loaded", "no weights", "none of open_clip's", "open_clip_config.json is damaged")
    assert len(whole) == 64
    assert [said in error for said, error in zip(words, errors, strict=True)] == [True] * 5, errors
    assert not (tmp_path / "opened").exists()


def test_a_text_is_found_where_it_is_shown(run: Run, model: Path, tmp_path: Path) -> None:
    """The text's direction is put among the frames': there, and nowhere else, the score is 1."""
    found = document(run)
    told = {"weights": found["weights"], **{name: found["embeddings"][name] for name in ("dim", "times", "frames")}}
    loaded, tokenizer = reference(model)
    numbers = rows(found["embeddings"], "frames")
    numbers[9] = loaded.encode_text(tokenizer(["a dog on the beach"]), normalize=True)[0]
    marked = told | {"frames": base64.b64encode(numbers.astype("<f2").tobytes()).decode()}
    (tmp_path / "clips.json").write_text(json.dumps([marked, told]))
    (tmp_path / "strange.json").write_text(json.dumps([told | {"weights": "another"}]))
    params = {"text": "a dog on the beach", "top": 4, "threads": 1}
    inputs = tmp_path / "clips.json", tmp_path / "strange.json"
    search = start("search.py", tmp_path / "job", *inputs, params=params, models={"model": model})
    best, *others = document(search)
    assert (best["clip"], best["seconds"], best["score"]) == (0, 9.0, pytest.approx(1, abs=1e-3))
    assert [moment["score"] for moment in others] == sorted((moment["score"] for moment in others), reverse=True)
    assert len(others) == 3
    assert all(moment["clip"] == 1 or abs(moment["seconds"] - 9) >= 5 for moment in others)
    assert "other weights" in search.failure(1)[1]
