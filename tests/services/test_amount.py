"""How much work an input is, by its header: right for what there is, None for what is none, and never in the way."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from services import caption, stabilize, tag, transcribe, upscale
from services.base import amount, weighing
from tests import media
from tests.services.typed import PYTHON, type_
from tests.services.typed import stabilize as typed_stabilize

WEIGHT = 2 * media.RATE * media.SIZE[0] * media.SIZE[1]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return media.clip(tmp_path_factory.mktemp("clips") / "clip.mp4", 2, extra=("-shortest",))


def test_pixels_of_a_clip_and_of_a_picture(clip: Path, tmp_path: Path) -> None:
    assert stabilize.SERVICE.amount(clip, stabilize.Stabilize()) == WEIGHT
    assert upscale.SERVICE.amount(clip, upscale.Upscale()) == WEIGHT
    for suffix in (".png", ".jpg", ".webp"):
        photo = tmp_path / f"photo{suffix}"
        Image.new("RGB", (64, 48)).save(photo)
        assert upscale.SERVICE.amount(photo, upscale.Upscale()) == 64 * 48


def test_frames_that_no_header_counts_are_told_from_the_duration(clip: Path, tmp_path: Path) -> None:
    film = media.remux(clip, tmp_path / "film.mkv")
    found = amount.pixels(film)
    assert found == pytest.approx(WEIGHT, rel=0.05)


def test_seconds_of_sound(clip: Path, tmp_path: Path) -> None:
    params = transcribe.Transcribe()
    assert transcribe.SERVICE.amount(clip, params) == pytest.approx(2, abs=0.1)
    for suffix in (".wav", ".flac", ".mp3"):
        talk = tmp_path / f"talk{suffix}"
        media.ffmpeg("-f", "lavfi", "-i", "sine=440:r=16000:d=3", talk)
        assert transcribe.SERVICE.amount(talk, params) == pytest.approx(3, abs=0.1)


def test_pictures_that_are_looked_at(clip: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (64, 48)).save(photo)
    assert tag.SERVICE.amount(clip, tag.Tag(fps=5)) == pytest.approx(10, rel=0.1)
    assert tag.SERVICE.amount(clip, tag.Tag(fps=0.01)) == 1
    assert caption.SERVICE.amount(clip, caption.Caption(frames=4)) == 4
    assert tag.SERVICE.amount(photo, tag.Tag()) == caption.SERVICE.amount(photo, caption.Caption()) == 1


@pytest.mark.parametrize(
    "content", [b"", b"not media at all", b"\0" * 4096, b"\x00\x00\x00\x18ftypmp42" + b"\xff" * 200]
)
@pytest.mark.parametrize("measure", [amount.pixels, amount.seconds, amount.pictures])
def test_what_is_no_media_has_no_amount(measure: object, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert measure(path) is None  # type: ignore[operator]
    assert measure(tmp_path / "gone.mp4") is None  # type: ignore[operator]


def test_what_has_frames_that_nobody_here_can_read_has_no_amount(tmp_path: Path) -> None:
    drawing = tmp_path / "drawing.svg"
    drawing.write_bytes(b"this is no clip")
    assert amount.pixels(drawing) is None


def test_a_clip_without_sound_has_no_seconds_of_it(tmp_path: Path) -> None:
    assert amount.seconds(media.clip(tmp_path / "mute.mp4", 0.2, sound=False)) is None


def test_without_pyav_nothing_is_known(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    assert amount.pixels(clip) is None
    assert amount.seconds(clip) is None
    assert amount.pictures(clip, fps=1) is None
    assert amount.pictures(clip, count=3) == 3


def test_a_service_is_imported_without_pyav(here: Path) -> None:
    code = "import sys, services.stabilize, services.base.use; assert 'av' not in sys.modules"
    assert type_([PYTHON, "-c", code], here).code == 0


def amounts(dirs: Path) -> list[float | None]:
    with sqlite3.connect(dirs / "state/journal.sqlite3") as journal:
        return [row[0] for row in journal.execute("SELECT amount FROM items ORDER BY rowid")]


def test_with_targets_to_choose_from_a_job_is_weighed_before_the_plan(
    here: Path, clip: Path, offload_dirs: Path
) -> None:
    (offload_dirs / "config/targets.toml").write_text(f'[far]\nurl = "local://{clip}/no/folder"\n')
    said = typed_stabilize(here, clip, "-o", "out.mp4", "--json")
    assert said.code == 0, said.err
    assert amounts(offload_dirs) == [WEIGHT]
    (attempt,) = said.document["attempts"]
    assert attempt["forecast"]["run"] > 0  # by the shipped figure for pixels: there is none for bytes


def test_what_was_made_before_is_not_weighed(
    here: Path, clip: Path, offload_dirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OFFLOAD_RESULT_BYTES", str(10**8))
    (offload_dirs / "config/targets.toml").write_text(f'[far]\nurl = "local://{clip}/no/folder"\n')
    for name in ("one.mp4", "two.mp4"):
        assert typed_stabilize(here, clip, "-o", name).code == 0
    assert amounts(offload_dirs) == [WEIGHT, None]


def test_with_this_machine_alone_what_the_script_measures_tells(here: Path, clip: Path, offload_dirs: Path) -> None:
    assert typed_stabilize(here, clip, "-o", "out.mp4").code == 0
    assert amounts(offload_dirs) == [WEIGHT]


def test_a_detached_job_is_weighed_before_it_is_left_alone(here: Path, clip: Path, offload_dirs: Path) -> None:
    said = typed_stabilize(here, clip, "-o", "out.mp4", "--detach")
    assert said.code == 0, said.err
    assert amounts(offload_dirs) == [WEIGHT]
    job = said.lines[0]
    shown = type_([PYTHON, "-m", "offload", "jobs", "attach", job, "--json"], here)
    assert json.loads(shown.out)["state"] == "done"


def test_of_many_some_of_each_kind_are_looked_at(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Path] = []
    monkeypatch.setattr(weighing, "amounts", lambda service, params, some: looked.extend(some) or known(some))

    def known(some: Sequence[Path]) -> list[float | None]:
        return [None if "odd" in source.name else float(source.stat().st_size) for source in some]

    sources = [tmp_path / f"{number}{suffix}" for number in range(100) for suffix in (".mp4", ".MOV")]
    for number, source in enumerate(sources):
        source.write_bytes(bytes(1000 + number % 7))
    gone, odd = tmp_path / "gone.mp4", tmp_path / "odd.avi"
    odd.touch()
    found = weighing.estimated(upscale.SERVICE, upscale.Upscale(), [*sources, gone, odd])
    assert found[-2:] == [None, None]
    assert {source.suffix for source in looked} == {".mp4", ".MOV", ".avi"}
    assert weighing.LOOKED_AT < len(looked) <= 2 * weighing.LOOKED_AT + 1
    assert {source for source, amount in zip(sources, found[:-2], strict=True) if amount} == {*looked} - {odd}
    looked.clear()
    assert weighing.estimated(upscale.SERVICE, upscale.Upscale(), sources[:9]) == known(sources[:9])
    assert len(looked) == 9
