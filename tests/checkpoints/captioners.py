"""Models to caption with, sound ones and others, each a folder.

blip  git (its weights a pickle)  llava  wordless (of empty captions)  own (brings code, as Moondream does)
poisoned (its pickle runs a command)  cut (a file that ends too soon)  lacking, misshapen (in one weight)
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.checkpoints import blip, git, llava

WEIGHT = "vision_model.embeddings.patch_embedding.weight"
OWN = """
import os
from pathlib import Path

import torch
from transformers import PretrainedConfig, PreTrainedModel

Path(os.environ["RAN"]).touch()


class OwnConfig(PretrainedConfig):
    model_type = "own"


class Own(PreTrainedModel):
    config_class = OwnConfig

    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(3, 1)
        self.post_init()

    def caption(self, image, length="normal", settings=None):
        mean = torch.tensor(list(image.resize((1, 1)).getdata())[0], dtype=torch.float32)
        return {"caption": f" {length} {settings['temperature']} {self.layer(mean).item():.3f} "}
"""


def save(root: Path) -> None:
    """Write all of them under `root`."""
    blip.save(root / "blip")
    blip.save(root / "wordless", wordless=True)
    llava.save(root / "llava")
    _pickle(git.save(root / "git"), lambda weights: weights)
    _save_own(root / "own")
    for name, change in (("poisoned", _poisoned), ("lacking", _lacking), ("misshapen", _misshapen)):
        _pickle(shutil.copytree(root / "blip", root / name), change)
    weights = shutil.copytree(root / "blip", root / "cut") / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)


def _pickle(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Have the weights in the older format, and changed."""
    import torch
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(change(weights), folder / "pytorch_model.bin")


class Poison:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ('touch "$RAN"',)


def _poisoned(weights: dict[str, Any]) -> dict[str, Any]:
    return {**weights, "more": Poison()}


def _lacking(weights: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in weights.items() if name != WEIGHT}


def _misshapen(weights: dict[str, Any]) -> dict[str, Any]:
    return {**weights, WEIGHT: weights[WEIGHT][:, :, :8].clone()}


def _save_own(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.Own"}
    (folder / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": classes}))
    (folder / "own.py").write_text(OWN)
    weights = {"layer.weight": torch.ones(1, 3), "layer.bias": torch.zeros(1)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
