"""A picture in tiles is the picture as a whole, and one of any size becomes one of any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.checkpoints import esrgan

from .runs import part
from .upscaled import finished

tiles = part("_tiles")


class Nearest:
    """Repeats each pixel: what it makes of one depends on no other."""

    scale = 3

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self.seen.append(pixels.shape)
        return pixels.repeat(3, axis=0).repeat(3, axis=1)


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Soft shapes, sharp edges and some noise."""
    y, x = np.mgrid[:height, :width]
    soft = 128 + 90 * np.sin(x / 9 + y / 23)[..., None] * np.array([1, 0.5, -0.7])
    edges = 60 * ((x // 17 + y // 11) % 2)[..., None]
    noise = np.random.default_rng(seed).normal(0, 8, (height, width, 3))
    return (soft + edges + noise).clip(0, 255).astype(np.uint8)


def tiled(*what: Any, **how: Any) -> Any:
    return finished(tiles.tiled(*what, **how))


@pytest.mark.parametrize("size", [(1, 1), (100, 70), (500, 1), (1, 333), (64, 64), (65, 129)])
@pytest.mark.parametrize("tile", [0, 32, 64])
def test_every_pixel_is_in_one_tile(size: tuple[int, int], tile: int) -> None:
    whole, network = picture(*size), Nearest()
    assert np.array_equal(tiled(network, whole, tile), whole.repeat(3, axis=0).repeat(3, axis=1))
    if tile:
        assert max(max(shape[:2]) for shape in network.seen) <= tile + 2 * tiles.MARGIN


@pytest.mark.parametrize("kind", ["rrdb", "compact"])
def test_tiles_are_the_whole_within_a_step_of_8_bits(tmp_path: Path, kind: str) -> None:
    (tmp_path / "model").mkdir()
    if kind == "rrdb":
        esrgan.rrdb(tmp_path / "model/x.pth", blocks=23, width=16)
    else:
        esrgan.compact(tmp_path / "model/x.pth", layers=32, width=16)
    network = part("_esrgan").load(tmp_path / "model", part("_torch").ready(1, 2))
    pixels = picture(100, 98)  # the least that has a tile of 48 with others all around
    whole = tiled(network, pixels, 0).astype(int)
    assert whole.std() > 10
    for tile in (48, 64):
        assert np.abs(tiled(network, pixels, tile) - whole).max() <= 1
    assert np.abs(tiled(network, pixels, 48, margin=0) - whole).max() > 1


@pytest.mark.parametrize(
    ("wanted", "size"),
    [
        ({"scale": 2}, (200, 120)),
        ({"scale": 3}, (300, 180)),
        ({"scale": 4, "width": 640, "height": 480}, (640, 480)),
        ({"scale": 4, "height": 90}, (150, 90)),
    ],
)
def test_the_size_is_what_was_asked_for(wanted: dict[str, int], size: tuple[int, int]) -> None:
    enlarger = tiles.Enlarger(Nearest(), 64, **wanted)
    assert enlarger.size(100, 60) == size
    for kind in (np.uint8, np.uint16):
        larger = finished(enlarger.steps(picture(100, 60).astype(kind) * (np.iinfo(kind).max // 255), size))
        assert (larger.shape, larger.dtype) == ((size[1], size[0], 3), kind)
        middle = larger[size[1] // 4 : -size[1] // 4].mean() / np.iinfo(kind).max
        assert abs(middle - picture(100, 60)[15:-15].mean() / 255) < 0.02


def test_lanczos_is_the_same_of_8_and_of_16_bits_and_exceeds_neither() -> None:
    stripes = np.zeros((8, 40, 3), np.uint8)
    stripes[:, ::2] = 255
    shallow = tiles.resized(stripes, (93, 17))
    deep = tiles.resized(stripes.astype(np.uint16) * 257, (93, 17))
    assert np.abs(deep / 257 - shallow).max() <= 1
    assert (deep.min(), deep.max()) == (0, 65_535)
