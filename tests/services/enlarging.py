"""Upscale typed whole, with tiny networks of random weights: here and on other machines."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from tests import media
from tests.checkpoints import esrgan
from tests.services.typed import Said, type_
from tests.ssh.jobs import tried

KINDS = {"rrdb": esrgan.rrdb, "compact": esrgan.compact}
OUTPUTS = ("clip.upscaled.mp4", "photo.upscaled.png")


def enlarge(folder: Path, kind: str, target: str) -> Said:
    """Type the service for a clip and a photo, to run on a target."""
    words = ["clip.mp4", "photo.png", "--model", f"{kind}.pth", "--on", target, "--json", "--overwrite", "--scale", "2"]
    return type_([sys.executable, "-m", "services.upscale", *words], folder, {"OMP_NUM_THREADS": "1"})


def assert_same_there_as_here(folder: Path, kind: str, target: str) -> None:
    """A clip of two segments and a photo are the same bytes on a target as they are here."""
    folder.mkdir()
    KINDS[kind](folder / f"{kind}.pth")
    media.clip(folder / "clip.mp4", 2.4, (64, 48))
    Image.radial_gradient("L").resize((40, 30)).convert("RGB").save(folder / "photo.png")
    made = []
    for place in ("local", target):
        said = enlarge(folder, kind, place)
        assert said.code == 0, said.err
        assert tried(said) == [(place, "done")], said.err
        made.append([(folder / name).read_bytes() for name in OUTPUTS])
    assert made[0] == made[1]
