"""open_clip: pictures and texts as directions in one space, where what means the same lies close.

A model is a folder as its repository has it: `open_clip_config.json`, and its weights as safetensors or as a pickle of
plain tensors. Pictures are prepared by PIL and numpy, whose pixels are the same everywhere.
"""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _pictures
import _torch
import numpy as np
from _job import ItemError, sha256
from PIL import Image

CONFIG = "open_clip_config.json"
WEIGHTS = ("*.safetensors", "*.bin", "*.pth")
TEXTS_AT_ONCE = 64


class Clip:
    """A loaded model. `sha256` is its weights', `dim` how many numbers a direction has."""

    def __init__(self, model: Any, tokenizer: Any, device: str, sha256: str) -> None:
        self._model, self._tokenizer, self._device = model, tokenizer, device
        self.sha256 = sha256
        prepared = model.visual.preprocess_cfg
        if prepared["resize_mode"] not in ("shortest", "squash"):
            raise ItemError(f"the model wants its pictures sized in a way unknown here: {prepared['resize_mode']}")
        self._rule = _rule(prepared["size"], prepared["resize_mode"])
        self._mean = np.array(prepared["mean"], np.float32)
        self._causal = _causal(model)
        self._deviation = np.array(prepared["std"], np.float32)

    def pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """Directions of pictures, taken as one batch: float32, one row each, of length 1."""
        import torch

        pixels = np.stack([self._pixels(picture) for picture in pictures])
        return _unit(self._model.encode_image(torch.from_numpy(pixels).to(self._device)))

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Directions of texts: float32, one row each, of length 1."""
        tokens = self._shortened(self._tokenizer(list(texts))).to(self._device)
        return np.concatenate([_unit(self._model.encode_text(part)) for part in tokens.split(TEXTS_AT_ONCE)])

    def _shortened(self, tokens: Any) -> Any:
        """The tokens without the padding that all have. A causal model's answer is the same, in a fifth of the time."""
        if self._causal is None:
            return tokens
        length = int(tokens.ne(0).any(dim=0).nonzero().max()) + 1
        positions, mask = self._causal
        self._model.positional_embedding.data = positions[:length]
        self._model.attn_mask = mask[:length, :length]
        return tokens[:, :length]

    def _pixels(self, picture: Image.Image) -> np.ndarray:
        sized = _pictures.fit(picture, picture.size, self._rule)
        values = np.asarray(sized, dtype=np.float32) / np.float32(255)
        return ((values - self._mean) / self._deviation).transpose(2, 0, 1)


def load(folder: Path, device: str) -> Clip:
    """Load the model in `folder`.

    Raises ItemError for one that cannot be loaded, ImportError where a package is missing.
    """
    weights, config = _weights(folder), _config(folder)
    _leave_out(config)
    _torch.mend_torchvision()  # open_clip does not go without it
    import open_clip
    from safetensors import SafetensorError

    try:
        model = open_clip.create_model(
            f"local-dir:{folder}", precision="fp32", device=device, weights_only=True, require_pretrained=True
        )
        tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    except pickle.UnpicklingError as error:
        raise ItemError("the model's weights were not opened: their file is damaged, or holds code") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        if _torch.wants_memory(error):
            raise
        raise ItemError(f"the model cannot be loaded: {_first_line(error)}") from error
    return Clip(model.eval(), tokenizer, device, sha256(weights))


def _config(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / CONFIG).read_text("utf-8"))["model_cfg"]
    except (ValueError, TypeError, KeyError) as error:
        raise ItemError(f"the model's {CONFIG} is damaged: {error}") from error
    return found


def _weights(folder: Path) -> Path:
    if not (folder / CONFIG).is_file():
        raise ItemError(f"the model is none of open_clip's: a folder that holds {CONFIG} and the weights is")
    found = [path for pattern in WEIGHTS for path in sorted(folder.glob(pattern))]
    if not found:
        raise ItemError("the model's folder holds no weights")
    return found[0]


def _leave_out(config: dict[str, Any]) -> None:
    """Have open_clip take packages for absent that this model does without: they take seconds to import."""
    if not any(name.startswith("hf_") for name in config.get("text_cfg", {})):
        sys.modules.setdefault("transformers", None)  # type: ignore[arg-type]
    if "timm_model_name" not in config.get("vision_cfg", {}):
        sys.modules.setdefault("timm", None)  # type: ignore[arg-type]


def _rule(size: int | Sequence[int], mode: str) -> str:
    height, width = (size, size) if isinstance(size, int) else size
    if mode == "squash":
        return f"{width}x{height}"
    if height != width:
        raise ItemError(f"the model wants pictures of {width}x{height}, cut out of the middle: only squares are")
    return str(width)


def _causal(model: Any) -> Any:
    """Positions and mask of a text model whose answer stands at its text's end; None for any other."""
    ends = type(model).__name__ == "CLIP" and model.text_pool_type == "argmax" and model.attn_mask is not None
    return (model.positional_embedding.data, model.attn_mask) if ends else None


def _unit(rows: Any) -> np.ndarray:
    values: np.ndarray = rows.float().cpu().numpy()
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
