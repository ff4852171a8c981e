"""A caption for each frame, at its time, and one text of them all; a frame without one fails its item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from .captioned import broken_torchvision, caption, captioners, frames, inside, scene
from .runs import Run, part

__all__ = ["captioners"]  # a fixture


def document(run: Run, index: int = 0) -> dict[str, Any]:
    (name,) = [file["name"] for file in run.done(index)["files"] if file["name"].endswith(".json")]
    return dict(json.loads((run.folder / f"out/{index}" / name).read_text("utf-8")))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return frames(tmp_path_factory.mktemp("clip") / "clip.mov", scene(1), scene(2), scene(3))


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory, captioners: Path, clip: Path) -> Run:
    """Four items, of which the second is damaged, and the third has one frame twice."""
    folder = tmp_path_factory.mktemp("batch")
    bad = folder / "bad.mov"
    bad.write_bytes(clip.read_bytes().replace(b"IDAT", b"JUNK", 1))
    twice = frames(folder / "twice.mov", scene(2), scene(1), scene(2))
    return caption(folder / "job", captioners / "blip", clip, bad, twice, clip, format=["json", "txt"])


def test_each_frame_has_a_caption_at_its_time(batch: Run) -> None:
    found = document(batch)
    assert (found["version"], found["model"]) == (1, "tiny")
    assert [entry["seconds"] for entry in found["captions"]] == [0.5, 1.5, 2.5]
    texts = [entry["text"] for entry in found["captions"]]
    assert all(texts) and len(set(texts)) == 3, "a caption tells of its own frame"


def test_the_frames_order_is_that_of_the_captions(batch: Run) -> None:
    one, two, _ = [entry["text"] for entry in document(batch)["captions"]]
    assert [entry["text"] for entry in document(batch, 2)["captions"]] == [two, one, two]


def test_what_is_said_twice_is_in_the_description_once(batch: Run) -> None:
    found = document(batch, 2)
    two, one, _ = [entry["text"] for entry in found["captions"]]
    assert found["description"] == f"{two[0].upper()}{two[1:]}. {one[0].upper()}{one[1:]}."
    assert (batch.folder / "out/2/captions.txt").read_text("utf-8") == found["description"] + "\n"
    assert batch.done(2)["measured"] == {"frames": 3, "description": found["description"]}


def test_a_damaged_frame_fails_its_item_alone(batch: Run) -> None:
    kind, error = batch.failure(1)
    assert kind == "bad_input" and "frames cannot be read" in error
    assert document(batch, 3) == document(batch)


def test_the_model_is_loaded_once_and_told_of(batch: Run) -> None:
    (event,) = batch.of("versions")
    told = event["versions"]
    assert {"torch", "transformers", "pillow", "python"} <= told.keys()
    assert (told["device"], told["threads"]) == ("cpu", "1")
    assert [round(event["fraction"], 2) for event in batch.of("progress")] == [0.33, 0.67, 1.0]


def test_threads_and_a_broken_torchvision_change_nothing(
    batch: Run, captioners: Path, clip: Path, tmp_path: Path
) -> None:
    env = broken_torchvision(tmp_path / "path", 'raise OSError("libcudart.so.13: cannot open shared object file")')
    again = caption(tmp_path / "job", captioners / "blip", clip, threads=2, format=["json", "txt"], env=env)
    assert again.done()["files"] == batch.done()["files"]
    assert again.of("versions")[0]["versions"]["threads"] == "2"


def test_a_model_that_is_asked_answers(captioners: Path, clip: Path, tmp_path: Path) -> None:
    run = caption(tmp_path / "job", captioners / "llava", clip)
    texts = [entry["text"] for entry in document(run)["captions"]]
    assert all(texts) and len(set(texts)) > 1
    assert not any("USER" in text or "Describe" in text for text in texts), "what was asked is no part of the answer"


def test_git_from_the_older_file_of_weights_where_there_is_no_torchvision(
    captioners: Path, clip: Path, tmp_path: Path
) -> None:
    env = broken_torchvision(tmp_path / "path", "raise ModuleNotFoundError(\"No module named 'torchvision'\")")
    small = frames(tmp_path / "small.mov", *(scene(number, 224) for number in (1, 2, 3)))
    run = caption(tmp_path / "job", captioners / "git", small, env=env)
    assert len({entry["text"] for entry in document(run)["captions"]}) > 1


def test_a_frame_that_the_model_finds_no_word_for_is_no_caption(captioners: Path, clip: Path, tmp_path: Path) -> None:
    run = caption(tmp_path / "job", captioners / "wordless", clip)
    assert run.failure() == ("failed", "the model has no word for the frame at 0.500 s")


LOADS = """
import json, sys
from pathlib import Path
import _captions, _torch
from _job import ItemError
from PIL import Image

root, said = Path(sys.argv[1]), {}
device = _torch.ready(1, 0)
asked = _captions.load(root / "llava", device, False)
from transformers.image_processing_backends import TorchvisionBackend

TorchvisionBackend.preprocess = None
said["by PIL"] = asked(Image.new("RGB", (8, 8), "white"))
strangers = ("cut", "lacking", "misshapen", "absent", "poisoned", "own")
for name, trusted in [*((name, 0) for name in strangers), ("own", 1)]:
    try:
        captioner = _captions.load(root / name, device, bool(trusted))
        said[f"{name} {trusted}"] = captioner(Image.new("RGB", (8, 8), "white"))
    except ItemError as error:
        said[f"{name} {trusted}"] = str(error)
    said[f"{name} {trusted} ran"] = Path(sys.argv[2]).exists()

import torch

Path(sys.argv[2]).unlink()
torch.load(root / "poisoned/pytorch_model.bin", weights_only=False)
said["poison bites"] = Path(sys.argv[2]).exists()

from _job import Job
import caption

caption._captions.load = lambda folder, device, trusted: device
torch.cuda.is_available = lambda: True
caption._versions = lambda device: {}
spec = {"params": {"threads": 1, "trust_remote_code": False}, "models": ["model"], "items": []}
jobs = [Job({**spec, "ease": ease}, open("/dev/null", "w")) for ease in (0, 1, 2)]
said["eased"] = [caption._captioner(job) for job in jobs]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(captioners: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What became of loading each, in one process: to load torch takes longer than all of them."""
    folder = tmp_path_factory.mktemp("loads")
    env = {"RAN": str(folder / "ran"), "HF_HOME": str(folder / "home")}
    return dict(inside(LOADS, captioners, folder / "ran", env=env))


def test_a_model_that_cannot_be_whole_is_refused_and_one_with_code_of_its_own_unless_it_is_trusted(
    said: dict[str, Any],
) -> None:
    assert said["by PIL"], "it fails where torchvision is asked to prepare a picture"
    assert said["cut 0"].startswith("the model cannot be loaded: ")
    weight = "such as vision_model.embeddings.patch_embedding.weight"
    assert said["lacking 0"] == said["misshapen 0"] == f"the model's file lacks 1 of its weights, {weight}"
    assert "no config.json" in said["absent 0"]
    assert "--trust-remote-code" in said["own 0"] and not said["own 0 ran"]
    assert said["own 1"] == "short 0 765.000" and said["own 1 ran"]


def test_code_in_a_file_of_weights_does_not_run(said: dict[str, Any]) -> None:
    assert "holds code" in said["poisoned 0"] and not said["poisoned 0 ran"]
    assert said["poison bites"], "or a test that it does not would show nothing"


def test_where_memory_ran_out_the_processor_is_next(said: dict[str, Any]) -> None:
    assert said["eased"] == ["cuda", "cpu", "cpu"]


@pytest.mark.parametrize(
    ("captions", "description"),
    [
        (["a dog", "The dog.", "DOG!"], "A dog."),
        (["a dog on a beach", "a dog"], "A dog on a beach. A dog."),
        (["the sea", "a dog", "sea"], "The sea. A dog."),
        (["is it a dog?", "a man's hat", "a man’s hat"], "Is it a dog? A man's hat. A man’s hat."),
        (["...", "!"], "... !"),
        (["über den Wolken", "ÜBER DEN WOLKEN"], "Über den Wolken."),
    ],
)
def test_the_rule_of_the_description(captions: Sequence[str], description: str) -> None:
    assert part("caption").describe(captions) == description
