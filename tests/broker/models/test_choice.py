"""Of a repository, only what a model is made of is fetched."""

from __future__ import annotations

import pytest

from broker.models.choice import choose

BLIP = "config.json preprocessor_config.json special_tokens_map.json tokenizer.json tokenizer_config.json vocab.txt"
CASES = {
    "safetensors before pickles": (
        f"{BLIP} model.safetensors .gitattributes README.md pytorch_model.bin tf_model.h5 flax_model.msgpack",
        f"{BLIP} model.safetensors",
    ),
    "pickles where there is nothing else": (f"{BLIP} pytorch_model.bin rust_model.ot", f"{BLIP} pytorch_model.bin"),
    "pieces, with their index": (
        "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json"
        " pytorch_model.bin.index.json pytorch_model-00001-of-00001.bin",
        "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json",
    ),
    "open_clip": (
        "open_clip_config.json open_clip_model.safetensors open_clip_pytorch_model.bin model.safetensors"
        " config.json merges.txt vocab.json tokenizer.json",
        "open_clip_config.json open_clip_model.safetensors config.json merges.txt vocab.json tokenizer.json",
    ),
    "open_clip without safetensors": (
        "open_clip_config.json open_clip_pytorch_model.bin pytorch_model.bin",
        "open_clip_config.json open_clip_pytorch_model.bin",
    ),
    "CTranslate2": (
        "config.json model.bin vocabulary.txt tokenizer.json preprocessor_config.json README.md",
        "config.json model.bin vocabulary.txt tokenizer.json preprocessor_config.json",
    ),
    "no leftovers of a training": (
        "config.json weights.pth training_args.bin optimizer.pt trainer_state.json requirements.txt",
        "config.json weights.pth",
    ),
    "other formats": ("config.json onnx/model.onnx model.gguf model.safetensors", "config.json model.safetensors"),
    "no code": ("config.json model.safetensors modeling.py", "config.json model.safetensors"),
    "no weights": ("config.json README.md", ""),
    "no name that leads elsewhere": ("../model.safetensors /model.safetensors a/../b.bin config.json", ""),
}


@pytest.mark.parametrize("case", CASES)
def test_the_model_is_chosen(case: str) -> None:
    there, wanted = CASES[case]
    assert choose(there.split()) == sorted(wanted.split())


def test_code_is_taken_only_where_it_is_asked_for() -> None:
    there = ["config.json", "model.safetensors", "modeling.py", "deep/inside.py"]
    assert choose([*there, "../out.py", "/out.py", "a/../../out.py", ".hidden.py"], code=True) == sorted(there)
