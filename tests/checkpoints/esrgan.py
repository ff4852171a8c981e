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


def compact(path: Path, layers: int = 2, width: int = 8, scale: int = 4, seed: int = 0, reach: float = 1.0) -> Path:
    """Write an SRVGGNetCompact. The published ones have 16 or 32 layers, 64 wide. One of no `reach` repeats pixels."""
    import torch

    last = 2 * layers + 2
    shapes = {"body.0": (width, 3)}
    shapes |= {f"body.{place}": (width, width) for place in range(2, last, 2)}
    shapes[f"body.{last}"] = (3 * scale**2, width)
    weights = {name: value * reach for name, value in _convolutions(shapes, seed).items()}
    for place in range(1, last, 2):
        weights[f"body.{place}.weight"] = torch.full((width,), 0.1)
    torch.save({"params": weights}, path)
    return path


def poisoned(path: Path) -> Path:
    """Write a pickle that makes the file $RAN names, if whoever loads it lets it."""
    import torch

    torch.save({"params": {"body.0.weight": Poison()}}, path)
    return path


def strange(path: Path) -> Path:
    """Write tensors that are no network's."""
    import torch

    torch.save({"params": {"nothing.weight": torch.zeros(3)}}, path)
    return path


def each_kind(folder: Path) -> None:
    """Write rrdb, compact, other (compact, too), nearest, poisoned, cut and strange."""
    rrdb(folder / "rrdb.pth")
    compact(folder / "compact.pth")
    compact(folder / "other.pth", seed=1)
    compact(folder / "nearest.pth", reach=0)
    poisoned(folder / "poisoned.pth")
    strange(folder / "strange.pth")
    data = (folder / "rrdb.pth").read_bytes()
    (folder / "cut.pth").write_bytes(data[: len(data) // 2])


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


def run_compact(weights: dict[str, Any], values: Any) -> Any:
    """What SRVGGNetCompact makes of pictures (1, 3, height, width), written down once more from its paper's figure."""
    from torch.nn.functional import conv2d, interpolate, pixel_shuffle, prelu

    names = sorted({int(name.split(".")[1]) for name in weights})
    result = values
    for place in names:
        weight = weights[f"body.{place}.weight"]
        if weight.ndim == 1:
            result = prelu(result, weight)
        else:
            result = conv2d(result, weight, weights[f"body.{place}.bias"], padding=1)
    scale = round(math.sqrt(result.shape[1] / 3))
    return pixel_shuffle(result, scale) + interpolate(values, scale_factor=scale, mode="nearest")


def run_rrdb(weights: dict[str, Any], values: Any) -> Any:
    """What RRDBNet makes of pictures (1, 3, height, width), the same way."""
    import torch
    from torch.nn.functional import conv2d, interpolate, leaky_relu

    def layer(name: str, pixels: Any) -> Any:
        return conv2d(pixels, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=1)

    def dense(name: str, pixels: Any) -> Any:
        known = [pixels]
        for number in range(1, 5):
            known.append(leaky_relu(layer(f"{name}.conv{number}", torch.cat(known, 1)), 0.2))
        return pixels + 0.2 * layer(f"{name}.conv5", torch.cat(known, 1))

    first = body = layer("conv_first", values)
    for block in range(1 + max(int(name.split(".")[1]) for name in weights if name.startswith("body."))):
        before = body
        for number in (1, 2, 3):
            body = dense(f"body.{block}.rdb{number}", body)
        body = before + 0.2 * body
    result = first + layer("conv_body", body)
    for name in ("conv_up1", "conv_up2"):
        result = leaky_relu(layer(name, interpolate(result, scale_factor=2, mode="nearest")), 0.2)
    return layer("conv_last", leaky_relu(layer("conv_hr", result), 0.2))
