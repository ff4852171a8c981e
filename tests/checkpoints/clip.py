"""A tiny CLIP in the format of open_clip's repositories: random weights, the genuine tokenizer, small pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.remote_scripts.runs import part

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {
        "size": 32,
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    },
}


def save(folder: Path, seed: int = 0, pickled: bool = False) -> Path:
    """Write the model; with `pickled` its weights are a pickle of tensors, else safetensors."""
    part("_torch").mend_torchvision()
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    model = open_clip.CLIP(**CONFIG["model_cfg"])
    if pickled:
        torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    else:
        save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def poison(folder: Path, mark: Path) -> Path:
    """Put a pickle in place of the weights that makes the file `mark` when it is opened carelessly."""
    import torch

    class Poison:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (mark,)

    for weights in (*folder.glob("*.safetensors"), *folder.glob("*.bin")):
        weights.unlink()
    torch.save({"visual.proj": Poison()}, folder / "open_clip_pytorch_model.bin")
    return folder
