"""Upscale typed whole, with tiny networks of random weights: here and on other machines."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from PIL import Image

from tests import media
from tests.once import once
from tests.remote_scripts.upscaled import made_networks
from tests.services.typed import Said, type_
from tests.ssh.jobs import tried

KINDS = ("rrdb", "compact")
OUTPUTS = ("clip.upscaled.mp4", "photo.upscaled.png")


def enlarge(folder: Path, kind: str, target: str) -> Said:
    """Type the service for a clip and a photo, to run on a target."""
    words = ["clip.mp4", "photo.png", "--model", f"{kind}.pth", "--on", target, "--json", "--overwrite", "--scale", "2"]
    return type_([sys.executable, "-m", "services.upscale", *words], folder, {"OMP_NUM_THREADS": "1"})


def prepare(folder: Path, kind: str) -> None:
    """Lay out a network, a clip of two segments and a photo."""
    folder.mkdir(exist_ok=True)
    shutil.copy(made_networks() / f"{kind}.pth", folder)
    media.clip(folder / "clip.mp4", 2.4, (64, 48))
    Image.radial_gradient("L").resize((40, 30)).convert("RGB").save(folder / "photo.png")


def made(folder: Path, kind: str, target: str) -> list[bytes]:
    """What a target makes of them."""
    prepare(folder, kind)
    said = enlarge(folder, kind, target)
    assert said.code == 0, said.err
    assert tried(said) == [(target, "done")], said.err
    return [(folder / name).read_bytes() for name in OUTPUTS]


def expected(kind: str) -> list[bytes]:
    """What this machine makes of them. That is found out once, whatever it is compared with."""
    folder = once(f"upscaled-{kind}", lambda folder: made(folder, kind, "local"))
    return [(folder / name).read_bytes() for name in OUTPUTS]


def assert_same_there_as_here(folder: Path, kind: str, target: str) -> None:
    """They are the same bytes on a target as they are here."""
    assert made(folder, kind, target) == expected(kind)
