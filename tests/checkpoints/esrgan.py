"""Checkpoints of Real-ESRGAN in their genuine format, small and of random weights.

`rrdb` is what RealESRGAN_x4plus.pth holds (`params_ema`), `compact` what realesr-animevideov3.pth does (`params`). The
names and shapes of the weights are those of the published files; only their number and width are smaller.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

GROWTH = 32  # channels that a layer of a dense block adds: all files have that many


def rrdb(path: Path, blocks: int = 1, width: int = 8, seed: int = 0) -> Path:
    """Write an RRDBNet that enlarges four times. The published ones have 23 blocks (or 6), 64 wide."""
    import torch

    shapes = {"conv_first": (width, 3)}
    for block in range(blocks):
        for dense in (1, 2, 3):
            for layer in range(1, 6):
                outputs = width if layer == 5 else GROWTH
                shapes[f"body.{block}.rdb{dense}.conv{layer}"] = (outputs, width + (layer - 1) * GROWTH)
    shapes |= dict.fromkeys(("conv_body", "conv_up1", "conv_up2", "conv_hr"), (width, width))
    shapes["conv_last"] = (3, width)
    torch.save({"params_ema": _convolutions(shapes, seed)}, path)
    return path


def compact(path: Path, layers: int = 2, width: int = 8, scale: int = 4, seed: int = 0) -> Path:
    """Write an SRVGGNetCompact. The published ones have 16 or 32 layers, 64 wide."""
    import torch

    last = 2 * layers + 2
    shapes = {"body.0": (width, 3)}
    shapes |= {f"body.{place}": (width, width) for place in range(2, last, 2)}
    shapes[f"body.{last}"] = (3 * scale**2, width)
    weights = _convolutions(shapes, seed)
    for place in range(1, last, 2):
        weights[f"body.{place}.weight"] = torch.full((width,), 0.1)
    torch.save({"params": weights}, path)
    return path


def poisoned(path: Path) -> Path:
    """Write a pickle that makes the file $RAN names, if whoever loads it lets it."""
    import torch

    torch.save({"params": {"body.0.weight": Poison()}}, path)
    return path


class Poison:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ('touch "$RAN"',)


def _convolutions(shapes: dict[str, tuple[int, int]], seed: int) -> OrderedDict[str, Any]:
    """Random weights of 3x3 convolutions, spread as torch's own new layers are."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    weights = OrderedDict()
    for name, (outputs, inputs) in shapes.items():
        reach = 1 / math.sqrt(9 * inputs)
        for part, shape in (("weight", (outputs, inputs, 3, 3)), ("bias", (outputs,))):
            weights[f"{name}.{part}"] = (2 * torch.rand(shape, generator=generator) - 1) * reach
    return weights
