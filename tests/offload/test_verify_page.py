"""The report of `offload verify`: one file that asks for nothing, and in which nothing from elsewhere is obeyed."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from offload import verify_page
from offload.verified import Pair, Run, Verified
from offload.verify_page import page
from services.base.compare import Comparison, Level, compare
from tests import media
from tests.offload.test_verify import HERE_AND_THERE, box, local_root, mood, scratch, verify
from tests.offload.verifying import compare as closely
from tests.offload.verifying import service
from tests.services.test_compare_tags import FRAMES, tags

__all__ = ["box", "scratch"]

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
ADDRESSED = ("src", "href", "srcset", "action", "data", "poster", "background", "formaction", "xlink:href")
VOID = {"meta", "img", "input", "link", "br"}


class Page(HTMLParser):
    """What a browser would make of a report."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = text
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.setdefault(self._open[-1] if self._open else "", []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each such tag."""
        return [attributes for name, attributes in self.tags if name == tag]

    def words(self, tag: str) -> list[str]:
        """What stands in such tags."""
        return [said for said in self.said.get(tag, []) if said.strip()]


def read(path: Path) -> Page:
    """A report, of which holds what holds for all."""
    return checked(path.read_text("utf-8"))


def checked(text: str) -> Page:
    found = Page(text)
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    for _, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert all(
            (attributes[name] or "").startswith("data:image/png;base64,") for name in ADDRESSED if name in attributes
        )
    for tag, part in (("script", "verify_page.js"), ("style", "verify_page.css")):
        ours = files("offload").joinpath(part).read_text("utf-8")
        assert found.words(tag) == [ours]
        digest = base64.b64encode(hashlib.sha256(ours.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in str(found.all("meta")[1]["content"])
    assert str(found.all("meta")[1]["content"]).startswith("default-src 'none'; img-src data:;")
    return found


def made(pairs: Sequence[Pair]) -> Verified:
    return Verified(service("close"), [Run(name, (), {"attempts": []}) for name in ("local", "box")], pairs, 0)


def paired(one: Path, other: Path, source: str = "a.dat") -> Pair:
    return Pair(Path(source), one.name, ("local", "box"), (one, other), compare(one, other, closely))


def picture(attributes: dict[str, str | None]) -> Image.Image:
    data = base64.b64decode((attributes["src"] or "").partition(",")[2])
    return Image.open(io.BytesIO(data)).convert("RGB")


def test_frames_lie_over_each_other_with_a_slider_that_keys_move(
    here: Path, data: Path, box: Path, shaky: Path, tmp_path: Path
) -> None:
    mood(local_root(), "made.mp4", shaky.read_bytes())
    flash = tmp_path / "flash.mp4"
    media.ffmpeg("-i", shaky, "-vf", "negate=enable='eq(n,7)'", "-c:a", "copy", "-qp", "0", flash)
    mood(box, "made.mp4", flash.read_bytes())
    said = verify(here, "close", "a.dat", *HERE_AND_THERE, "--suffix", ".mp4", "--html", "report.html")
    assert said.code == 9
    found = read(here / "report.html")
    assert [caption.split(",")[0] for caption in found.words("figcaption")] == ["frame 0", "frame 7"]
    assert len(found.all("img")) == 4
    assert {image["alt"] for image in found.all("img")} >= {"local: frame 0, 0.000 s", "box: frame 0, 0.000 s"}
    for slider in found.all("input"):
        assert (slider["type"], slider["aria-label"]) == ("range", "left local, right box")
    under, over = map(picture, found.all("img")[2:])
    inverted = [abs(a + b - 255) for a, b in zip(under.tobytes(), over.tobytes(), strict=True)]
    assert sum(inverted) / len(inverted) < 3
    assert sorted(path.name for path in here.iterdir()) == ["a.dat", "report.html"]


def test_only_the_words_that_differ_are_marked(tmp_path: Path) -> None:
    for name, text in (("1.txt", "all of this is equal\nbut that\n"), ("2.txt", "all of this is other\nbut that\n")):
        (tmp_path / name).write_text(text)
    found = checked(page(made([paired(tmp_path / "1.txt", tmp_path / "2.txt")])))
    assert (found.words("del"), found.words("ins")) == (["equal"], ["other"])
    assert "but that" in found.words("p")


def test_scores_stand_side_by_side(tmp_path: Path) -> None:
    one = tags(tmp_path / "1.json")
    other = tags(tmp_path / "2.json", FRAMES, {"beach": 0.45, "cat": 0.2})
    cells = checked(page(made([paired(one, other)]))).words("td")
    at = cells.index("tags: beach")
    assert cells[at : at + 4] == ["tags: beach", "0.5000", "0.4500", "-0.0500"]
    at = cells.index("tags: cat")
    assert cells[at : at + 4] == ["tags: cat", "-", "0.2000", "-"]


def test_what_comes_from_elsewhere_is_shown_and_not_obeyed(here: Path, box: Path) -> None:
    name = f"{HOSTILE.replace('/', '')}\n\x1b[2J\udcff.dat"
    (here / name).write_text("input")
    mood(local_root(), "made.txt", f"{HOSTILE} one</del>")
    mood(box, "made.txt", f"{HOSTILE} \x1b[2J <style>p{{}}")
    mood(local_root(), "version", HOSTILE)
    said = verify(here, "bytes", "--suffix", ".txt", *HERE_AND_THERE, "--html", "report.html", "--", os.fsencode(name))
    assert said.code == 9
    assert len(said.lines) == len([line for line in said.lines if "\t" in line])
    assert b"\x1b" not in said.out
    found = read(here / "report.html")
    shown = " ".join(found.words("del") + found.words("ins") + found.words("p") + found.words("h2"))
    assert "<script>alert(1)</script>" in shown
    assert "<script>alert(1)<script>" in found.words("h2")[0]  # the name, in which no / can be
    assert HOSTILE in found.words("td")
    assert not found.all("img")


def test_tags_and_targets_are_no_markup_either(tmp_path: Path) -> None:
    one = tags(tmp_path / "1.json", scores={HOSTILE: 0.5})
    other = tags(tmp_path / "2.json", scores={HOSTILE: 0.4})
    found = checked(page(made([paired(one, other, source=HOSTILE.replace("/", ""))])))
    assert f"tags: {HOSTILE}" in found.words("td")


def test_what_cannot_be_drawn_is_said(tmp_path: Path, shaky: Path) -> None:
    one, odd = Path(shutil.copy(shaky, tmp_path / "1.mp4")), tmp_path / "2.mp4"
    odd.write_text("no clip")
    found = checked(page(made([paired(one, odd)])))
    assert not found.all("img")
    assert "the other cannot be decoded" in found.text


def test_equal_outputs_need_no_picture(tmp_path: Path, shaky: Path) -> None:
    one, other = (Path(shutil.copy(shaky, tmp_path / f"{n}.mp4")) for n in "12")
    found = checked(page(made([paired(one, other)])))
    assert not found.all("img")
    assert "equal to the last of" in found.text


def test_a_report_is_replaced_on_request_only(here: Path, data: Path, box: Path) -> None:
    (here / "report.html").write_text("mine")
    words = ("a.dat", *HERE_AND_THERE, "--html", "report.html")
    assert verify(here, "bytes", *words).code == 2
    assert (here / "report.html").read_text() == "mine"
    assert verify(here, "bytes", *words, "--overwrite").code == 0
    assert read(here / "report.html").words("strong") == ["bytes", "bytes"]
    assert sorted(path.name for path in here.iterdir()) == ["a.dat", "report.html"]


def test_a_report_that_somebody_made_meanwhile_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from offload.verify import _write

    (tmp_path / "report.html").write_text("theirs")
    assert _write(tmp_path / "report.html", "ours", overwrite=False) == 2
    assert "it cannot be written: File exists" in capsys.readouterr().err
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir() if path.is_file()] == [
        ("report.html", "theirs")
    ]


def test_of_many_outputs_only_those_that_differ_most_are_drawn(
    tmp_path: Path, shaky: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = media.clip(tmp_path / "other.mp4", 0.5, steady=True)
    close = tmp_path / "close.mp4"
    media.ffmpeg("-i", shaky, "-vf", "noise=alls=2:all_seed=1", "-c:a", "copy", "-qp", "0", close)
    pairs = [paired(shaky, close), paired(shaky, other), paired(shaky, close)]
    monkeypatch.setattr(verify_page, "MOST_DRAWN", 1)
    text = page(made(pairs))
    first, second, third = text.split("<section>")[1:]
    assert ["<img" in part for part in (first, second, third)] == [False, True, False]
    assert "Others differ more" in first


def test_a_level_is_told_for_each_pair(tmp_path: Path) -> None:
    levels = [Comparison(level, {}, f"as {level}") for level in Level]
    pairs = [Pair(Path("a"), "b", ("local", "box"), None, level) for level in levels]
    found = checked(page(made(pairs)))
    assert found.words("strong") == ["different", *map(str, Level)]
    assert "which is not kept" in found.text
