"""Upscale, of photos: what they have is kept, what a network makes of them is the network's own, and no file harms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.checkpoints import esrgan

from .runs import part
from .test_tiles import picture
from .upscaled import finished, networks, upscale

__all__ = ["networks"]  # a fixture
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def deep(path: Path, pixels: np.ndarray, clear: tuple[int, ...] = (), **more: bytes) -> Path:
    """Write a PNG of 16 bits, of one to four channels; `clear` is the one colour of it that is transparent."""
    colour = pixels[..., 0] if pixels.shape[2] < 3 else pixels[..., :3]
    alpha = pixels[..., -1] if pixels.shape[2] in (2, 4) else None
    part("_png").write_deep(path, colour, alpha, more.get("profile"), more.get("exif"))
    if clear:
        head, mark, tail = path.read_bytes().partition(b"IDAT")
        chunk = part("_png")._chunk(b"tRNS", np.array(clear, ">u2").tobytes())
        path.write_bytes(head[:-4] + chunk + head[-4:] + mark + tail)
    return path


def noise(channels: int) -> np.ndarray:
    """A picture of 60x44 of every value that 16 bits have."""
    return np.random.default_rng(channels).integers(0, 65_536, (44, 60, channels), np.uint16)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Photos of every kind."""
    folder = tmp_path_factory.mktemp("photos")
    colours, turned = Image.fromarray(picture(60, 44)), Image.Exif()
    turned[0x0112], turned[0x010F] = 6, "A camera"
    alpha = colours.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(colours.size))
    found: dict[str, Path] = {}

    def save(name: str, image: Image.Image, **how: Any) -> None:
        found[name.partition(".")[0]] = folder / name
        image.save(folder / name, **how)

    save("plain.png", colours, icc_profile=PROFILE)
    save("photo.jpg", colours, exif=turned, icc_profile=PROFILE, quality=95)
    save("web.webp", colours, quality=95)
    save("alpha.png", alpha)
    save("clearweb.webp", alpha, quality=95)
    save("grey.png", colours.convert("L"))
    save("greyalpha.png", alpha.convert("LA"))
    save("palette.png", colours.convert("P", palette=Image.Palette.ADAPTIVE))
    save("seethrough.png", colours.convert("P", palette=Image.Palette.ADAPTIVE), transparency=3)
    save("bits.png", colours.convert("1"))
    save("print.jpg", colours.convert("CMYK"))
    photo = {"exif": turned, "save_all": True, "append_images": [colours.resize((20, 15))]}
    colours.save(folder / "two.mpo", **photo)
    found["two"] = (folder / "two.mpo").rename(folder / "two.jpg")
    save("one.png", Image.new("RGB", (1, 1), (10, 200, 90)))
    save("long.png", Image.fromarray(picture(10_000, 1)))
    found["deep"] = deep(folder / "deep.png", noise(3), profile=PROFILE)
    found["deepalpha"] = deep(folder / "deepalpha.png", noise(4), exif=turned.tobytes())
    found["grey16"] = deep(folder / "grey16.png", noise(1))
    found["greyalpha16"] = deep(folder / "greyalpha16.png", noise(2))
    found["clear16"] = deep(folder / "clear16.png", noise(3), clear=tuple(noise(3)[0, 0]))
    found["greyclear16"] = deep(folder / "greyclear16.png", noise(1), clear=tuple(noise(1)[0, 0]))
    return found


@pytest.fixture(scope="module")
def doubled(photos: dict[str, Path], networks: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All of them by a network that repeats pixels."""
    run = upscale(tmp_path_factory.mktemp("run") / "job", *photos.values(), model=networks / "nearest.pth", scale=4)
    return {name: run.output(index) for index, name in enumerate(photos)}


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [
        ("plain", "RGB", (240, 176)),
        ("photo", "RGB", (176, 240)),
        ("web", "RGB", (240, 176)),
        ("alpha", "RGBA", (240, 176)),
        ("clearweb", "RGBA", (240, 176)),
        ("grey", "L", (240, 176)),
        ("greyalpha", "LA", (240, 176)),
        ("palette", "RGB", (240, 176)),
        ("seethrough", "RGBA", (240, 176)),
        ("bits", "L", (240, 176)),
        ("print", "RGB", (240, 176)),
        ("grey16", "I;16", (240, 176)),
        ("one", "RGB", (4, 4)),
        ("long", "RGB", (40_000, 4)),
        ("deep", "RGB", (240, 176)),
        ("deepalpha", "RGBA", (176, 240)),
        ("greyalpha16", "RGBA", (240, 176)),  # as PIL reads one
        ("clear16", "RGBA", (240, 176)),
        ("greyclear16", "RGBA", (240, 176)),
        ("two", "RGB", (176, 240)),
    ],
)
def test_a_photo_of_any_kind_keeps_its_kind(
    doubled: dict[str, Path], photos: dict[str, Path], name: str, mode: str, size: tuple[int, int]
) -> None:
    larger = opened(doubled[name])
    assert (larger.mode, larger.size) == (mode, size)
    assert larger.format == opened(photos[name]).format.replace("MPO", "JPEG")


@pytest.mark.parametrize("name", ["plain", "one", "long", "palette", "grey", "bits"])
def test_no_pixel_is_lost_or_moved(doubled: dict[str, Path], photos: dict[str, Path], name: str) -> None:
    before, after = opened(photos[name]), opened(doubled[name])
    pixels = np.asarray(before.convert(after.mode))
    assert np.array_equal(np.asarray(after), pixels.repeat(4, axis=0).repeat(4, axis=1))


DEEP = {"deep": 3, "deepalpha": 4, "grey16": 1, "greyalpha16": 2, "clear16": 3, "greyclear16": 1}


@pytest.mark.parametrize("name", [*DEEP])
def test_16_bits_stay_16_and_grey_stays_grey(doubled: dict[str, Path], name: str) -> None:
    photo = part("_stills").read(doubled[name], "PNG", 10**7)
    expected = noise(DEEP[name])
    if name == "deepalpha":
        expected = np.rot90(expected, -1)
    larger = expected.repeat(4, axis=0).repeat(4, axis=1)
    assert photo.colour.dtype == np.uint16
    assert np.array_equal(photo.colour, larger[..., 0] if DEEP[name] < 3 else larger[..., :3])
    assert (photo.alpha is None) == (name in ("deep", "grey16"))


@pytest.mark.parametrize("name", ["clear16", "greyclear16"])
def test_a_colour_that_stands_for_transparent_does(doubled: dict[str, Path], name: str) -> None:
    alpha = part("_stills").read(doubled[name], "PNG", 10**7).alpha
    assert alpha[:2, :2].max() < 20_000  # of the one pixel that has it
    assert alpha[20:].min() == 65_535


def test_transparency_is_kept_and_soft(doubled: dict[str, Path], photos: dict[str, Path]) -> None:
    for name in ("alpha", "greyalpha"):
        before, after = (np.asarray(opened(where[name]))[..., -1].astype(int) for where in (photos, doubled))
        assert np.abs(after - before.repeat(4, axis=0).repeat(4, axis=1)).max() <= 16
        assert np.abs(np.diff(after, axis=0)).max() <= 5  # and no steps, as repeated pixels would have
    assert set(np.unique(np.asarray(opened(doubled["seethrough"]))[..., 3])) >= {0, 255}


def test_what_the_camera_noted_and_the_profile_are_kept(doubled: dict[str, Path]) -> None:
    for name in ("plain", "photo", "deep"):
        assert opened(doubled[name]).info["icc_profile"] == PROFILE
    for name in ("photo", "deepalpha"):
        exif = opened(doubled[name]).getexif()
        assert exif[0x010F] == "A camera"
        assert exif.get(0x0112, 1) == 1
    assert "icc_profile" not in opened(doubled["print"]).info


def test_of_two_pictures_in_a_photo_the_first_is_taken(photos: dict[str, Path], networks: Path, tmp_path: Path) -> None:
    run = upscale(tmp_path / "job", photos["two"], model=networks / "nearest.pth")
    assert "only the first" in run.logged()
    before = np.rot90(np.asarray(opened(photos["two"])), -1).repeat(4, axis=0).repeat(4, axis=1).astype(int)
    assert np.abs(np.asarray(opened(run.output())) - before).mean() < 3


@pytest.mark.parametrize("exif", [None, b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_picture_of_16_bits_that_is_cut_short_is_refused(tmp_path: Path, channels: int, exif: bytes | None) -> None:
    whole = deep(tmp_path / "whole.png", noise(channels), exif=exif).read_bytes()
    for share in (0.2, 0.5, 0.9, 0.99):
        (tmp_path / "cut.png").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(part("_job").BadInput, match="cut short"):
            part("_stills").read(tmp_path / "cut.png", "PNG", 10**7)


def network(path: Path, threads: int = 1, **more: Any) -> Any:
    """A network as the script loads it, in this process."""
    return part("_esrgan").load(alone(path), part("_torch").ready(threads, 2), **more)


def alone(path: Path) -> Path:
    """A folder with nothing but that file, as a model's is."""
    folder = path.parent / f"{path.stem}-alone"
    folder.mkdir(exist_ok=True)
    if not (folder / path.name).exists():
        (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize("kind", ["rrdb", "compact"])
def test_the_network_is_computed_as_its_authors_do(networks: Path, kind: str) -> None:
    import torch

    made = network(networks / f"{kind}.pth")(picture(40, 30))
    (weights,) = torch.load(networks / f"{kind}.pth", weights_only=True).values()
    expected = steps({"rrdb": esrgan.run_rrdb, "compact": esrgan.run_compact}[kind], weights, picture(40, 30))
    assert np.abs(made - expected).max() < 0.51
    assert made.std() > 5


def steps(run: Any, weights: dict[str, Any], pixels: np.ndarray) -> np.ndarray:
    """What a network makes of a picture, in steps of 8 bits, not rounded."""
    import torch

    with torch.no_grad():
        values = torch.from_numpy(pixels.astype(np.float32) / 255).permute(2, 0, 1)[None]
        return run(weights, values)[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255


@pytest.mark.parametrize("kind", ["rrdb", "compact"])
def test_realesrgans_own_package_makes_the_same(networks: Path, kind: str) -> None:
    """For who has it (realesrgan 0.3.0), with what mends it: its last release does not go with today's torchvision."""
    part("_torch").mend_torchvision()
    try:
        from basicsr.archs.rrdbnet_arch import RRDBNet
        from realesrgan import RealESRGANer
        from realesrgan.archs.srvgg_arch import SRVGGNetCompact
    except Exception as error:  # noqa: BLE001 - it fails in many ways
        pytest.skip(f"realesrgan cannot be imported here: {error}")
    models = {
        "rrdb": lambda: RRDBNet(3, 3, scale=4, num_feat=8, num_block=1, num_grow_ch=esrgan.GROWTH),
        "compact": lambda: SRVGGNetCompact(3, 3, num_feat=8, num_conv=2, upscale=4, act_type="prelu"),
    }
    options = {"tile": 32, "tile_pad": 16, "pre_pad": 0, "half": False}
    theirs = RealESRGANer(4, str(networks / f"{kind}.pth"), model=models[kind](), **options)
    expected = theirs.enhance(picture(100, 70)[..., ::-1].copy())[0][..., ::-1]
    made = finished(part("_tiles").tiled(network(networks / f"{kind}.pth"), picture(100, 70), 32))
    assert np.abs(made.astype(int) - expected).max() <= 1


def test_denoise_is_the_mean_of_two_models(networks: Path) -> None:
    import torch

    one, other = (torch.load(networks / f"{name}.pth", weights_only=True)["params"] for name in ("compact", "other"))
    mean = {name: 0.25 * one[name] + 0.75 * other[name] for name in one}
    mixed = network(networks / "compact.pth", other=alone(networks / "other.pth"), share=0.25)
    expected = steps(esrgan.run_compact, mean, picture(24, 20))
    assert np.abs(mixed(picture(24, 20)) - expected).max() < 0.51
    with pytest.raises(part("_job").ItemError, match="not alike"):
        network(networks / "compact.pth", other=alone(networks / "rrdb.pth"), share=0.25)


@pytest.mark.parametrize("kind", ["rrdb", "compact"])
def test_threads_change_no_byte(networks: Path, kind: str) -> None:
    one, two = (network(networks / f"{kind}.pth", threads)(picture(300, 200)) for threads in (1, 2))
    assert np.array_equal(one, two)


def test_where_memory_ran_out_tiles_are_smaller_and_nothing_else(
    tmp_path: Path, networks: Path, photos: dict[str, Path]
) -> None:
    run = upscale(tmp_path / "job", photos["plain"], model=networks / "rrdb.pth", tile=64, ease=1)
    assert run.of("versions")[0]["versions"]["tile"] == "32"
    assert "32 pixels" in run.logged()
    whole = network(networks / "rrdb.pth")(np.asarray(opened(photos["plain"]))).astype(int)
    assert np.abs(np.asarray(opened(run.output())) - whole).max() <= 1


@pytest.mark.parametrize(
    ("model", "says"), [("poisoned", "holds code"), ("cut", "cannot be loaded"), ("strange", "no network")]
)
def test_a_model_that_is_none_is_refused(
    tmp_path: Path, networks: Path, model: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    with pytest.raises(part("_job").ItemError, match=says):
        network(networks / f"{model}.pth")
    assert not (tmp_path / "ran").exists()


def test_the_poison_bites_whoever_takes_it(tmp_path: Path, networks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("RAN", str(tmp_path / "ran"))
    torch.load(networks / "poisoned.pth", weights_only=False)
    assert (tmp_path / "ran").exists()


def test_what_cannot_be_done_is_refused_alone(tmp_path: Path, networks: Path, photos: dict[str, Path]) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(photos["plain"].read_bytes()[:2000])
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "moves.webp", save_all=True, append_images=frames[1:], lossless=True)
    frames[0].save(tmp_path / "old.gif")
    Image.new("RGB", (60, 40)).save(tmp_path / "new.avif")
    (tmp_path / "empty.png").touch()
    Image.new("RGB", (5000, 2)).save(tmp_path / "wide.webp")
    clear = tmp_path / "clear.jpg"
    clear.symlink_to(photos["alpha"])
    inputs = [
        cut,
        tmp_path / "moves.webp",
        tmp_path / "old.gif",
        tmp_path / "new.avif",
        tmp_path / "empty.png",
        tmp_path / "wide.webp",
        clear,
    ]
    run = upscale(tmp_path / "job", *inputs, photos["one"], model=networks / "nearest.pth")
    says = [
        "damaged or cut short",
        "animated",
        "not taken",
        "AVIF.*give it as png",
        "empty",
        "cannot hold 20000x8",
        "transparent",
    ]
    for index, what in enumerate(says):
        kind, error = run.failure(index)
        assert (kind, bool(re.search(what, error))) == ("bad_input", True), error
    assert run.output(len(says)).exists()


def test_sizes_and_limits_are_heeded(tmp_path: Path, networks: Path, photos: dict[str, Path]) -> None:
    inputs = [photos[name] for name in ("plain", "deep", "long")]
    run = upscale(
        tmp_path / "job", *inputs, model=networks / "nearest.pth", suffix=".jpg", height=60, limits={"pixels": 5000}
    )
    assert [opened(run.output(index)).size for index in (0, 1)] == [(82, 60), (82, 60)]
    assert run.done()["measured"] == {"from": [60, 44], "to": [82, 60], "frames": 1}
    assert "16 bits are cut to 8" in run.logged(1)
    assert run.failure(2) == (
        "limit",
        "the input is a picture of 10000x1, over the limit of 5000 pixels; set OFFLOAD_MAX_PIXELS to allow it",
    )


def test_a_photo_is_no_clip() -> None:
    stills = part("_stills")
    photo = stills.Photo(picture(4, 4), None, None, None)
    with pytest.raises(part("_job").BadInput, match=r"-o with a name in \.png"):
        stills.check_target(".mp4", photo, (16, 16))
    assert stills.check_target(".png", photo, (16, 16)) == ""
