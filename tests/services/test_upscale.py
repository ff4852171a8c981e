"""Upscale as a command: what it takes, what it makes and how that is called; here, over SSH and on Colab."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from broker.errors import UsageError
from broker.models import catalogue
from broker.scripts import folder, read_header
from services.upscale import SERVICE, Upscale
from tests import media
from tests.remote_scripts.upscaled import networks
from tests.services.typed import ROOT, Said, Word, type_

__all__ = ["networks"]  # a fixture

SLOW = {"OMP_NUM_THREADS": "1"}
RELEASES = "https://github.com/xinntao/Real-ESRGAN/releases/download/"


def upscale(cwd: Path, *words: Word) -> Said:
    return type_([sys.executable, "-m", "services.upscale", *words], cwd, SLOW)


def test_a_clip_and_a_photo_are_enlarged_by_one_command(here: Path, networks: Path) -> None:
    media.clip(here / "clip.mp4", 0.4, (64, 48))
    Image.radial_gradient("L").resize((30, 20)).convert("RGB").save(here / "photo.png")
    Image.new("RGB", (6, 4)).save(here / "small.jpg")
    said = upscale(here, "clip.mp4", "photo.png", "small.jpg", "--model", networks / "compact.pth", "--scale", "3")
    assert said.code == 0, said.err
    assert [Path(line).name for line in said.lines] == [
        "clip.upscaled.mp4",
        "photo.upscaled.png",
        "small.upscaled.jpg",
    ]
    with Image.open(here / "photo.upscaled.png") as photo, Image.open(here / "small.upscaled.jpg") as small:
        assert (photo.size, photo.format, small.size, small.format) == ((90, 60), "PNG", (18, 12), "JPEG")
    assert "64x48 -> 192x144" in said.err
    assert "this takes about" in said.err


def test_the_receipt_says_what_decided_the_result(here: Path, networks: Path) -> None:
    Image.new("RGB", (6, 4)).save(here / "a.png")
    said = upscale(here, "a.png", "--model", networks / "rrdb.pth", "--size", "40x10", "--tile", "64", "--json")
    assert said.code == 0, said.err
    told = json.dumps(said.document)
    for word in ('"tile": "64"', '"precision": "fp32"', '"spandrel": "0.4.2"', '"device": "c', '"to": [40, 10]'):
        assert word in told
    with Image.open(here / "a.upscaled.png") as image:
        assert image.size == (40, 10)


def test_a_folder_is_searched_for_clips_and_photos() -> None:
    assert {".mp4", ".mkv", ".png", ".jpg", ".jpeg", ".webp"} <= SERVICE.accepts
    assert not {".tif", ".gif", ".bmp"} & SERVICE.accepts


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--scale", "5"), "2 to 4"),
        (("--size", "wide"), "3840x2160"),
        (("--size", "0x9"), "3840x2160"),
        (("--size", "8x8", "--height", "9"), "say one of them"),
        (("--tile", "3"), "32 or more"),
        (("--denoise", "2"), "0 to 1"),
        (("--denoise", "0.5"), "realesr-general-x4v3"),
        (("--model", "realesrgan-x4"), "realesrgan-x4plus"),
        (("-o", "a.gif"), ".png"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(here: Path, words: tuple[str, ...], says: str) -> None:
    (here / "a.png").touch()
    said = upscale(here, "a.png", *words)
    assert said.code == 2
    assert says in said.err


def test_what_is_no_picture_is_the_inputs_fault(here: Path, networks: Path) -> None:
    (here / "a.png").write_bytes(b"\x89PNG and nothing more")
    said = upscale(here, "a.png", "--model", networks / "compact.pth")
    assert said.code == 3
    assert "damaged" in said.err
    assert [path.name for path in here.iterdir()] == ["a.png"]


def test_models_are_real_esrgans_own_releases() -> None:
    entries = [entry for entry in catalogue.entries() if entry.service == "upscale"]
    assert {entry.source.rpartition("/")[2] for entry in entries} == {
        "RealESRGAN_x4plus.pth",
        "RealESRNet_x4plus.pth",
        "RealESRGAN_x4plus_anime_6B.pth",
        "realesr-animevideov3.pth",
        "realesr-general-x4v3.pth",
        "realesr-general-wdn-x4v3.pth",
    }
    assert all(entry.source.startswith(RELEASES) and entry.licence == "BSD-3-Clause" for entry in entries)
    assert catalogue.default("upscale").name == Upscale().model


def test_the_script_is_told_numbers_and_no_path(networks: Path) -> None:
    told = Upscale(size="1920x1080", model=str(networks / "rrdb.pth")).for_script()
    assert (told["width"], told["height"], told["model"]) == (1920, 1080, "rrdb.pth")
    assert "size" not in told
    assert [Upscale(height=720).for_script()[name] for name in ("width", "height")] == [None, 720]


def test_denoise_takes_a_second_model() -> None:
    params = Upscale(model="realesr-general-x4v3", denoise=0.5)
    assert {role: source.rpartition("/")[2] for role, source in params.models().items()} == {
        "model": "realesr-general-x4v3.pth",
        "denoise": "realesr-general-wdn-x4v3.pth",
    }
    with pytest.raises(UsageError, match="not for realesrgan-x4plus"):
        Upscale(denoise=0.5)


def test_the_header_asks_for_what_the_extra_does() -> None:
    header = read_header(folder() / "upscale.py")
    extra: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needs = [need for need in extra["upscale"] if not need.startswith("offload-broker")]
    assert sorted(header["dependencies"]) == sorted(needs)
    assert header["tool"]["offload"]["take-from-target"] == ["torch"]
    assert "upscale" in extra["all"][0]
