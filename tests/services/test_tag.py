"""`tag` at the command line: whatever is wrong with what was typed is named before anything starts."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from broker.errors import UsageError
from broker.models import catalogue
from services import tag
from services.base.options import parse
from tests import media
from tests.services import everywhere

from .typed import PYTHON, Said, type_

GOOD = """version = "1"

[templates]
tags = ["a photo of {}."]

[tags]
beach = "a beach"
"""
MISTAKES = {
    'version = "1"\n\n[tags]\na = "a"\nb = "b"\n\nc = c\n': "Invalid value",
    'version = "1"\n\n[tags]\na = "a"\nb = "b"\n\nc = 3\n': "c takes a text",
    'version = "1"\n\n[tags]\na = "a"\nb = "b"\n\n"c" = []\n': "c takes a text",
    'version = "1"\n\n[tags]\na = "a"\nb = "b"\n\na = "c"\n': "overwrite",
    'version = "1"\n\n[tags]\na = "a"\n\n\n[mood]\nb = "b"\n': "mood is not known",
    '\n\n\n\n\n\nversion = 1\n[tags]\na = "a"\n': "the version is a text",
    '[tags]\na = "a"\n\n\n\n[templates]\ntags = ["a photo"]\n': "with {} in each",
    '[tags]\ntags = "a"\n\n\n\n[templates]\ntags = "a photo of {}"\n': "with {} in each",
    '[tags]\na = "a"\n\n\n\n[moods]\ncalm = ""\n': "calm takes a text",
    '[tags]\na = "a"\n\n\n\n[moods]\n"" = "calm"\n': "it takes a text",
}


def parsed(**values: Any) -> tag.Tag:
    found = parse(tag.Tag, values)
    assert isinstance(found, tag.Tag)
    return found


@pytest.mark.parametrize("text", MISTAKES, ids=MISTAKES.values())
def test_a_mistake_in_line_7_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=MISTAKES[text]) as caught:
        parsed(vocabulary=path)
    assert f"{path}:7: " in str(caught.value)


def test_a_good_vocabulary_is_taken_and_so_is_ours(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert list(tag.mistakes(path)) == []
    assert list(tag.mistakes(tag.VOCABULARY)) == []
    ours, mine = f"path:{tag.VOCABULARY}", f"path:{path}"
    model = catalogue.default("tag").source
    assert parsed().models() == {"model": model, "vocabulary": ours}
    assert parsed(vocabulary=path).models() == {"model": model, "vocabulary": mine}
    assert parsed(vocabulary=path, extend=True).models() == {"model": model, "vocabulary": ours, "additions": mine}


@pytest.mark.parametrize(
    "content", [None, b"\xff\xfe", b"", b'version = "1"\n'], ids=["none", "binary", "empty", "bare"]
)
def test_a_file_that_is_no_vocabulary_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"mine\.toml"):
        parsed(vocabulary=path)


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "huge"])
def test_what_would_never_end_is_not_opened(kind: str, tmp_path: Path) -> None:
    """Without a time limit: a vocabulary that is opened all the same is never read to its end."""
    path = tmp_path / "mine.toml"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "huge":
            path.write_text(f"{GOOD}{'#' * tag.VOCABULARY_BYTES}")
    says = "1 MB at most" if kind == "huge" else "this is not a file"
    with pytest.raises(UsageError, match=rf"mine\.toml: .*{says}"):
        parsed(vocabulary=path)


def test_a_mark_before_the_text_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD, "utf-8-sig")
    assert list(tag.mistakes(path)) == []
    path.write_text(next(iter(MISTAKES)), "utf-8-sig")
    assert "mine.toml:7: " in next(tag.mistakes(path))


def test_extend_needs_something_to_extend_with() -> None:
    with pytest.raises(UsageError, match="goes with --vocabulary"):
        parsed(extend=True)


def test_an_unknown_model_gets_the_nearest_names() -> None:
    with pytest.raises(UsageError, match="ViT-B-32"):
        parsed(model="ViT-B32")


def test_the_script_is_told_no_path_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    (tmp_path / "model").mkdir()
    mine = parsed(model=str(tmp_path / "model"), vocabulary=tmp_path / "mine.toml", extend=True)
    assert str(tmp_path) not in json.dumps([mine.for_script(), mine.for_preparation()])
    assert mine.for_script()["model"] == "model"
    named = parsed(model="ViT-B-32@abc").for_script()
    assert (named["model"][:8], named["source"]) == ("ViT-B-32", f"{catalogue.default('tag').source}@abc")
    assert parsed(fps=2).for_preparation() == {"fps": 2.0, "frame": "224"}


@pytest.mark.parametrize(
    ("config", "frame"),
    [
        ({"size": 256}, "256"),
        ({"size": [384, 384], "resize_mode": "squash"}, "384x384"),
        ({"size": [224, 224], "resize_mode": "shortest"}, "224"),
        ({"size": [100, 200]}, ""),
        ({}, ""),
    ],
)
def test_pictures_for_a_model_of_ones_own_are_as_it_says(config: dict[str, Any], frame: str, tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": config}))
    assert parsed(model=str(tmp_path)).for_preparation()["frame"] == frame


def type_tag(here: Path, *words: str | Path) -> Said:
    return type_([PYTHON, "-m", "services.tag", *words], here, {"OMP_NUM_THREADS": "1"})


def test_a_mistake_is_told_before_anything_starts(here: Path) -> None:
    (here / "a.png").write_bytes(b"whatever")
    (here / "mine.toml").write_text(next(iter(MISTAKES)))
    said = type_tag(here, "a.png", "--vocabulary", "mine.toml")
    assert said.code == 2
    assert "mine.toml:7: " in said.err
    assert not (here / "a.tags.json").exists()


def test_a_clip_and_a_picture_are_tagged(here: Path, clip_here: Path) -> None:
    model = everywhere.model(everywhere.TAG)
    media.ffmpeg("-f", "lavfi", "-i", "testsrc=s=64x64", "-frames:v", "1", here / "photo.png")
    shutil.copy(here / "photo.png", here / "broken.png")
    (here / "broken.png").write_bytes((here / "photo.png").read_bytes()[:300])
    (here / "mine.toml").write_text(GOOD, "utf-8-sig")
    words = ("--model", str(model), "--vocabulary", "mine.toml", "--extend", "--top", "3", "--offline")
    said = type_tag(here, "clip.mp4", "photo.png", "broken.png", *words)
    assert said.code == 101, said.err
    assert [Path(line).name for line in said.lines] == ["clip.tags.json", "photo.tags.json"]
    assert "broken.png" in said.err
    assert "damaged" in said.err
    found = [json.loads(Path(line).read_text()) for line in said.lines]
    assert [len(entry["tags"]) for entry in found] == [3, 3]
    assert [entry["embeddings"]["times"] for entry in found] == [[0.0], [0.0]]
    assert [entry["vocabulary"] for entry in found] == ["1+1", "1+1"]
