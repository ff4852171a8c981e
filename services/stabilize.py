"""Steady a shaky clip with vid.stab: `python -m services.stabilize clip.mp4`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from services.base import amount
from services.base.compare import Comparison
from services.base.service import Params, Service
from services.base.suffixes import CLIPS

CLOSE_DB = 45.0
"""The PSNR that no frame of a close result is below. What --fast makes, a coarser analysis, is at about 43 dB."""

Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]


class Stabilize(Params):
    """Parameters of stabilise; the defaults are those measured to steady real footage best."""

    smoothing: Annotated[
        int, Field(ge=0, le=1000, description="frames before and after that the camera path is averaged over")
    ] = 30
    shakiness: Annotated[int, Field(ge=1, le=10, description="how shaky the clip is: how far the analysis looks")] = 5
    zoom: Annotated[
        Literal["auto"] | Annotated[float, Field(ge=-50, le=100, allow_inf_nan=False)],
        Field(description="percent to zoom in; auto hides the borders"),
    ] = "auto"
    crf: Annotated[int, Field(ge=0, le=51, description="x264 quality: lower is better and larger")] = 18
    preset: Annotated[Preset, Field(description="x264 speed: slower makes smaller files")] = "medium"
    fast: Annotated[
        bool,
        Field(description="analyse at half size, and with preset medium use superfast: coarser, in half of the time"),
    ] = False
    to_sdr: Annotated[
        bool, Field(description="convert 10-bit or HDR video to 8-bit SDR, which the stabiliser needs")
    ] = False
    report: Annotated[
        Path | None,
        Field(
            description="PNG with both camera paths and figures measured on the result; FOLDER/ for one of each input"
        ),
    ] = None

    @field_validator("report", mode="before")  # of a path, the slash at its end is gone
    @classmethod
    def _report_is_png(cls, report: Any) -> Any:
        if not isinstance(report, str | os.PathLike):
            return report
        path, word = Path(report).absolute(), os.fspath(report)
        if path.suffix.lower() == ".png":
            if word.endswith(os.sep):
                raise ValueError("a folder of reports must not end in .png")
        elif not word.endswith(os.sep) and not path.is_dir():
            raise ValueError("it must end in .png, or in / for a folder")
        return str(path)

    def for_script(self) -> dict[str, Any]:
        """The script is told whether to draw a report, not where it goes, and the preset that is meant."""
        preset = "superfast" if self.fast and self.preset == "medium" else self.preset
        return super().for_script() | {"report": self.report is not None, "preset": preset}


def _outputs(dest: Path, params: Stabilize) -> Mapping[str, Path]:
    video = {f"stabilized{dest.suffix.lower()}": dest}
    return video | ({"report.png": _report(dest, params.report)} if params.report else {})


def _report(dest: Path, named: Path) -> Path:
    """Where a clip's report goes: the file that was named, or into that folder."""
    if named.suffix.lower() == ".png":
        return named
    return named / f"{dest.stem.removesuffix('.stabilized')}.report.png"


def _options(dest: Path) -> Mapping[str, Any]:
    return {"container": dest.suffix.lower().removeprefix(".")}


def _extras(params: Stabilize) -> tuple[str, ...]:
    return ("report",) if params.report else ()


def _describe(measured: Mapping[str, Any]) -> str:
    jitter = measured["jitter_px"]
    coarse = ", analysed at half size (--fast)" if measured.get("analysed") == "half size" else ""
    return f"camera jitter {jitter['before']:.2f} -> {jitter['after']:.2f} px{coarse}"


def _compare(one: Path, other: Path) -> Comparison:
    from services.base.compare import media

    return media.compare(one, other, CLOSE_DB)


SERVICE = Service(
    name="stabilize",
    summary="Steady a shaky clip.",
    params=Stabilize,
    script="stabilize.py",
    accepts=CLIPS,
    makes=(".mp4", ".mov", ".mkv"),
    label="stabilized",
    outputs=_outputs,
    options=_options,
    extras=_extras,
    describe=_describe,
    compare=_compare,
    unit="pixels",
    amount=lambda source, params: amount.pixels(source),
)


if __name__ == "__main__":
    from services.base.command import main

    main(SERVICE)
