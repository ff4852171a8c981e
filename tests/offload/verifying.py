"""Services to verify: `python tests/offload/verifying.py close|bytes INPUT... --on A,B [--suffix .srt]`.

Both run `moody.py`; they are named for what they promise. With VERIFY_HOLD, comparing says so by making that file, and
goes on for ever.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import click
from pydantic import Field

from offload.verify import verb
from services.base.command import run
from services.base.compare import Comparison, exactly, media, tags, texts
from services.base.service import Params, Service


class Moody(Params):
    """Parameters."""

    suffix: Annotated[str, Field(description="what is made")] = ".bin"


def compare(one: Path, other: Path) -> Comparison:
    """Compare by what was made."""
    if hold := os.environ.get("VERIFY_HOLD"):
        Path(hold).touch()
        while True:
            time.sleep(1)
    if one.suffix in (".mp4", ".png"):
        return media.compare(one, other, 40)
    if one.suffix in (".srt", ".txt"):
        return texts.compare(one, other, 0.1, 0.2)
    return tags.compare(one, other, 0.999, 0.1) if one.suffix == ".json" else exactly(one, other)


def service(contract: str) -> Service:
    """A service that promises so much."""
    return Service(
        name=contract,
        summary="Make something.",
        params=Moody,
        script=Path(__file__).with_name("moody.py").resolve(),
        accepts=frozenset({".dat"}),
        makes=(".bin",),
        label="made",
        outputs=lambda dest, params: {f"made{params.suffix}": dest.with_suffix(params.suffix)},
        contract=contract,
        compare=compare,
    )


if __name__ == "__main__":
    run(click.Group("verifying", {name: verb(service(name)) for name in ("close", "bytes")}), "verifying")
