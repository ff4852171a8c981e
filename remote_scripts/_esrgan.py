"""Real-ESRGAN and its like: networks that enlarge a picture, from the files in which they are published.

A file is a pickle of plain tensors (`.pth`; anything else in it is refused) or safetensors. spandrel finds out from the
weights which network they belong to.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import _torch
from _job import ItemError

SUFFIXES = (".pth", ".safetensors")  # spandrel reads others, too, one of which (.pt) may hold code


class Network:
    """A loaded network. `scale` is how many times it enlarges, `half` whether it computes in fp16."""

    def __init__(self, descriptor: Any, device: str, half: bool) -> None:
        import torch

        self.scale: int = descriptor.scale
        self.half = half and device == _torch.GPU
        self._device, self._kind = device, torch.float16 if self.half else torch.float32
        # Channels last: a processor does the same convolutions in two thirds of the time.
        self._model = descriptor.model.eval().to(device, self._kind, memory_format=torch.channels_last)
        self._least = max(descriptor.size_requirements.minimum, 1)
        self._multiple = max(descriptor.size_requirements.multiple_of, 1)

    def __call__(self, pixels: Any) -> Any:
        """Enlarge an array of uint8 or uint16 (height, width, 3); the same kind of array, `scale` times as large."""
        import numpy as np
        import torch

        height, width, _ = pixels.shape
        most = np.iinfo(pixels.dtype).max
        with torch.inference_mode():
            values = torch.from_numpy(pixels.astype(np.float32)).to(self._device, self._kind) / most
            result = self._model(self._padded(values.permute(2, 0, 1)[None]))
            result = result[0, :, : height * self.scale, : width * self.scale].float().clamp_(0, 1)
            whole = result.mul_(most).round_().permute(1, 2, 0).cpu().numpy()
        return whole.astype(pixels.dtype)

    def _padded(self, values: Any) -> Any:
        """The picture with its edge repeated, up to the sizes that the network can do."""
        import torch

        height, width = values.shape[2:]
        more = [-max(length, self._least) % self._multiple + max(self._least - length, 0) for length in (width, height)]
        return torch.nn.functional.pad(values, (0, more[0], 0, more[1]), "replicate") if any(more) else values


def load(folder: Path, device: str, half: bool = False, other: Path | None = None, share: float = 1.0) -> Network:
    """Load the network in `folder`; with `other`, the mean of two, of which the first has the weight `share` (0-1).

    Raises ItemError for files that are none, or hold code, ImportError where a package is missing.
    """
    _torch.mend_torchvision()  # spandrel does not go without it
    import spandrel

    try:
        weights = _weights(folder)
        if other:
            weights = _mean(weights, _weights(other), share)
        descriptor = spandrel.MAIN_REGISTRY.load(weights)
    except pickle.UnpicklingError as error:
        raise ItemError("the model's weights were not opened: their file is damaged, or holds code") from error
    except spandrel.UnsupportedModelError as error:
        raise ItemError("the model is no network that is known here: take one of Real-ESRGAN's") from error
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, RuntimeError) as error:
        if _torch.wants_memory(error):
            raise
        raise ItemError(f"the model cannot be loaded: {_first_line(error)}") from error
    _check_kind(descriptor)
    return Network(descriptor, device, half)


def _weights(folder: Path) -> dict[str, Any]:
    import spandrel

    found = [path for suffix in SUFFIXES for path in sorted(folder.glob(f"*{suffix}"))]
    if not found:
        raise ItemError(f"the model has no file that ends in {' or '.join(SUFFIXES)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights: dict[str, Any] = spandrel.ModelLoader("cpu").load_state_dict_from_file(found[0])
    return weights


def _mean(one: dict[str, Any], other: dict[str, Any], share: float) -> dict[str, Any]:
    if {name: value.shape for name, value in one.items()} != {name: value.shape for name, value in other.items()}:
        raise ItemError("the two models of which the mean is asked for are not alike")
    return {name: share * value + (1 - share) * other[name] for name, value in one.items()}


def _check_kind(descriptor: Any) -> None:
    import spandrel

    fits = isinstance(descriptor, spandrel.ImageModelDescriptor)
    if not fits or (descriptor.input_channels, descriptor.output_channels) != (3, 3):
        raise ItemError("the model is no network that makes a picture larger, in colour")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
