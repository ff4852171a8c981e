"""Make a photo or a clip larger with Real-ESRGAN: `python -m services.upscale clip.mp4 --scale 4`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from broker.errors import UsageError
from broker.models import catalogue
from broker.models.pin import PATH
from services.base import amount
from services.base.compare import Comparison
from services.base.service import Params, Service
from services.base.suffixes import CLIPS

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]

PHOTOS = frozenset({".png", ".jpg", ".jpeg", ".webp"})
CLOSE_DB, CLOSE_LOSSLESS_DB = 40.0, 48.0
"""The PSNR that no frame of a close result is below, and that of a PNG, which no encoder has touched.

At 48.1 dB each value of a picture is off by one. Where one value in a thousand is, x264 at crf 18 decides otherwise all
over the frame: of 60 frames measured, the worst was at 41.3 dB, and at 40.6 where each value was off by one.
"""

SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
MIXED = {"realesr-general-x4v3": "realesr-general-wdn-x4v3"}
"""Models that can leave noise in the picture: what each is mixed with for that."""


class Upscale(Params):
    """Parameters of upscale."""

    scale: Annotated[int, Field(ge=2, le=4, description="how many times as wide and as high")] = 4
    size: Annotated[
        str | None, Field(description="WIDTHxHEIGHT of the result, in place of the scale; stretches another shape")
    ] = None
    height: Annotated[int | None, Field(ge=1, le=65_535, description="height of the result, in place of the scale")] = (
        None
    )
    model: Annotated[
        str, Field(description="name (see `offload models ls --service upscale`), or a .pth or .safetensors file")
    ] = "realesrgan-x4plus"
    denoise: Annotated[
        float | None,
        Field(ge=0, le=1, description="how much noise realesr-general-x4v3 takes away; without this, all it can: 1"),
    ] = None
    tile: Annotated[
        int, Field(ge=0, le=8192, description="pixels of a side that are done at once; 0: whole pictures, more memory")
    ] = 256
    fp16: Annotated[bool, Field(description="compute in half precision on a GPU: quicker, and not quite the same")] = (
        False
    )
    crf: Annotated[int, Field(ge=0, le=51, description="x264 quality of a clip: lower is better and larger")] = 18
    preset: Annotated[Preset, Field(description="x264 speed of a clip: slower makes smaller files")] = "medium"
    to_sdr: Annotated[bool, Field(description="convert a 10-bit or HDR clip to 8-bit SDR, which is all we write")] = (
        False
    )
    threads: Annotated[int, Field(ge=0, le=1024, description="processor threads; 0 is all cores but one")] = 0

    @field_validator("size")
    @classmethod
    def _size_is_one(cls, size: str | None) -> str | None:
        if size is not None and not SIZE.fullmatch(size):
            raise ValueError("it takes WIDTHxHEIGHT in pixels, as in 3840x2160")
        return size

    @field_validator("tile")
    @classmethod
    def _tile_is_no_crumb(cls, tile: int) -> int:
        if 0 < tile < 32:
            raise ValueError("it takes 32 or more, or 0")
        return tile

    @model_validator(mode="after")
    def _parameters_fit(self) -> Self:
        if self.size is not None and self.height is not None:
            raise UsageError("--size and --height are both given", "say one of them")
        if self.denoise is not None and self._entry.name not in MIXED:
            raise UsageError(f"--denoise is not for {self._entry.name}", "--model realesr-general-x4v3 --denoise 0.5")
        assert self._entry
        return self

    @property
    def _entry(self) -> catalogue.Entry:
        return catalogue.find("upscale", self.model)

    def for_script(self) -> dict[str, Any]:
        """The script is told the size in numbers, and a model's name instead of where it lies."""
        told = super().for_script()
        size = SIZE.fullmatch(told.pop("size") or "")
        width, height = map(int, size.groups()) if size else (None, self.height)
        source = self._entry.source
        name = Path(source).name if source.startswith(PATH) else self._entry.name
        return told | {"width": width, "height": height, "model": name}

    def models(self) -> dict[str, str]:
        """One model, or the two that are mixed."""
        entry = self._entry
        if self.denoise is None:
            return {"model": entry.source}
        return {"model": entry.source, "denoise": catalogue.find("upscale", MIXED[entry.name]).source}


def _outputs(dest: Path, params: Upscale) -> Mapping[str, Path]:
    return {f"upscaled{dest.suffix.lower()}": dest}


def _options(dest: Path) -> Mapping[str, Any]:
    return {"suffix": dest.suffix.lower()}


def _describe(measured: Mapping[str, Any]) -> str:
    before, after = ("x".join(map(str, measured[name])) for name in ("from", "to"))
    return f"{before} -> {after}"


def _compare(one: Path, other: Path) -> Comparison:
    from services.base.compare import media

    return media.compare(one, other, CLOSE_LOSSLESS_DB if one.suffix == ".png" else CLOSE_DB)


SERVICE = Service(
    name="upscale",
    summary="Make a photo or a clip larger, in detail that a network adds.",
    params=Upscale,
    script="upscale.py",
    accepts=CLIPS | PHOTOS,
    makes=(".mp4", ".mov", ".mkv", ".png", ".jpg", ".jpeg", ".webp"),
    label="upscaled",
    outputs=_outputs,
    options=_options,
    describe=_describe,
    contract="close",
    compare=_compare,
    unit="pixels",
    amount=lambda source, params: amount.pixels(source),
)


if __name__ == "__main__":
    from services.base.command import main

    main(SERVICE)
