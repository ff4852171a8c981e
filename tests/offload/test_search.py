"""`offload search`: moments of what was tagged, by the model that tagged it, without the network."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from broker.broker import Broker
from broker.errors import InputError
from broker.job import Input, Request
from broker.stop import Stop
from offload import search
from services.base import tagged
from tests import media
from tests.services import everywhere
from tests.services.typed import PYTHON, Said, offload, type_

QUICK = {"OMP_NUM_THREADS": "1"}
FAKE_TAG = '''
"""Publishes a document as tags.json: what a genuine tag job leaves in the journal, in no time."""
import shutil, sys
sys.path.insert(0, {scripts!r})
from _job import Result, run
def do(job, item):
    path = item.out / "tags.json"
    shutil.copy({document!r}, path)
    return Result((path,))
sys.exit(run(do))
'''


@pytest.fixture(scope="module")
def model() -> Path:
    return everywhere.model(everywhere.TAG)


def find(here: Path, *words: str | Path) -> Said:
    return offload(here, "search", *words, env=QUICK)


def told(weights: str = "w", source: str = "hf:test/none", **embeddings: Any) -> dict[str, Any]:
    """A tags.json, as far as a search reads it."""
    row = np.eye(1, 4, dtype="<f2")
    whole = {"dim": 4, "times": [0.0], "frames": base64.b64encode(row.tobytes()).decode()}
    return {"version": 1, "weights": weights, "source": source, "embeddings": whole | embeddings}


def tag(broker: Broker, scratch: Path, clip: Path, tags: Path, document: dict[str, Any]) -> None:
    """See a job through that tags a clip with `document`."""
    (scratch / "document.json").write_text(json.dumps(document))
    script = scratch / "fake_tag.py"
    scripts = str(Path(search.__file__).parents[1] / "remote_scripts")
    script.write_text(FAKE_TAG.format(scripts=scripts, document=str(scratch / "document.json")))
    job = broker.submit(Request("tag", script, {}, (Input(clip, {"tags.json": tags}),), overwrite=True))
    list(broker.drive(job, Stop()))


def test_moments_are_found_drawn_and_printed(here: Path, model: Path, tmp_path: Path) -> None:
    """Tagged, searched and drawn for real, with one clip gone meanwhile."""
    media.clip(here / "clip.mp4", 7, rate=5, sound=False)
    media.ffmpeg("-f", "lavfi", "-i", "color=red:s=64x48", "-frames:v", "1", here / "photo.png")
    shutil.copy(here / "photo.png", here / "gone.png")
    tag = (PYTHON, "-m", "services.tag", "clip.mp4", "photo.png", "gone.png", "--model", str(model))
    assert type_(tag, here, QUICK).code == 0
    (here / "gone.png").unlink()
    said = find(here, "happy people on a beach", "--top", "3", "--thumbnails", "sheet.png")
    assert said.code == 0, said.err
    assert "gone.png" in said.err
    rows = [line.split("\t") for line in said.lines]
    assert sorted({row[0] for row in rows}) == [str(here / "clip.mp4"), str(here / "photo.png")]
    scores = [float(score) for _, _, score in rows]
    assert scores == sorted(scores, reverse=True)
    with Image.open(here / "sheet.png") as sheet:
        assert sheet.size == (3 * search.WIDTH, search.HEIGHT)
        place = next(number for number, row in enumerate(rows) if row[0].endswith("photo.png"))
        assert np.asarray(sheet)[90, place * search.WIDTH + 160] == pytest.approx([254, 0, 0], abs=4)
    assert [job["service"] for job in offload(here, "jobs", "ls", "--json").document] == ["tag"]


def test_nothing_tagged_yet_is_said_with_what_to_type(here: Path) -> None:
    said = find(here, "a dog")
    assert (said.code, said.out) == (3, b"")
    assert "offload tag clip.mp4" in said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["  "], "nothing to search for"),
        (["a dog", "--thumbnails", "sheet.jpg"], "must end in .png"),
        (["a dog", "--thumbnails", "there.png"], "there.png exists"),
        (["a dog", "--thumbnails", "no/sheet.png"], "no such folder"),
        (["a dog", "--top", "0"], "--top"),
        (["a dog", "odd.tags.json"], "does not tell which model"),
    ],
)
def test_what_makes_no_sense_is_named(words: list[str], message: str, here: Path) -> None:
    (here / "there.png").write_bytes(b"mine")
    (here / "odd.tags.json").write_text(json.dumps(told(source="")))
    said = find(here, *words)
    assert (said.code, said.out) == (2, b"")
    assert message in said.err
    assert (here / "there.png").read_bytes() == b"mine"


def test_a_model_that_is_not_here_is_named_with_the_command_that_fetches_it(here: Path) -> None:
    (here / "a.tags.json").write_text(json.dumps(told()))
    said = find(here, "a dog", "a.tags.json")
    assert said.code == 4
    assert "test/none" in said.err
    assert "offload models prefetch" in said.err
    assert offload(here, "jobs", "ls", "--json").document == []


def test_paths_are_clips_files_of_tags_and_folders(here: Path, broker: Broker) -> None:
    for name in ("a.mp4", "b.png", "c.txt"):
        (here / name).write_bytes(b"x")
    (here / "a.tags.json").write_text(json.dumps(told()))
    (here / "deep").mkdir()
    (here / "deep/b.tags.json").write_text(json.dumps(told()))
    (here / "deep/c.tags.json").write_text("{}")
    for words in (["a.mp4", "deep"], ["a.tags.json", "."]):
        found, left = tagged.among(broker, [here / word for word in words])
        assert [entry.clip.name for entry in found] == ["a.mp4", "b.tags.json"]
        assert left == [tagged.LeftOut(here / "deep/c.tags.json", tagged.ODD)]
    said = find(here, "a dog", "c.txt")
    assert said.code == 3
    assert "c.txt: nothing of this was tagged" in said.err


def test_the_latest_tags_of_a_clip_count(here: Path, broker: Broker, tmp_path: Path) -> None:
    (here / "a.json").write_text("a clip")
    for weights in ("old", "new"):
        tag(broker, tmp_path, here / "a.json", here / f"{weights}.tags.json", told(weights))
    found, left = tagged.everything(broker)
    assert ([entry.weights for entry in found], left) == (["new"], [])
    (here / "new.tags.json").unlink()
    assert [entry.weights for entry in tagged.everything(broker)[0]] == ["old"]
    (here / "old.tags.json").unlink()
    assert tagged.everything(broker) == ([], [tagged.LeftOut(here / "a.json", tagged.GONE)])


def test_a_clip_that_was_replaced_has_no_moments(here: Path, broker: Broker, tmp_path: Path) -> None:
    clip, tags = here / "a.mp4", here / "a.tags.json"
    clip.write_bytes(b"a clip")
    tag(broker, tmp_path, clip, tags, told("old"))
    (here / "kept.mp4").write_bytes(b"a clip")
    clip.write_bytes(b"another")
    left = tagged.LeftOut(clip, tagged.OTHER)
    assert tagged.everything(broker) == ([], [left])
    for path in (clip, tags, here):
        with pytest.raises(InputError, match="replaced after") as caught:
            tagged.among(broker, [path])
        assert caught.value.hint == f"offload tag --overwrite {path}"
    said = find(here, "a dog")
    assert (said.code, said.out) == (3, b"")
    assert "left out, since the clips were replaced after they were tagged: a.mp4\n" in said.err
    (here / "kept.mp4").replace(clip)  # its content again, as another file
    assert [entry.weights for entry in tagged.everything(broker)[0]] == ["old"]
    clip.write_bytes(b"another")
    tag(broker, tmp_path, clip, tags, told("new"))
    assert [entry.weights for entry in tagged.everything(broker)[0]] == ["new"]
    clip.write_bytes(b"a clip")  # what the older job tagged; its tags are not there any more
    assert tagged.everything(broker) == ([], [left])


HALVES = base64.b64encode(np.array([[1, np.nan, 0, 0]], "<f2").tobytes()).decode()
ODD = {
    "no object": "[]",
    "dim": json.dumps(told(dim="x")),
    "none": json.dumps(told(dim=0, frames="")),
    "base64": json.dumps(told(frames="AAAA=AAA")),
    "letters": json.dumps(told(frames="\u00e4" * 12)),
    "short": json.dumps(told(frames="AAAA")),
    "NaN": json.dumps(told(times=[float("nan")])),
    "a time that is none": json.dumps(told(times=[-1.0])),
    "no number": json.dumps(told(frames=HALVES)),
    "a list": json.dumps(told(times={"0": 1})),
    "no weights": json.dumps(told("")),
    "a path": json.dumps(told(source="path:/etc/passwd")),
    "deep": "[" * 100_000,
    "cut short": json.dumps(told())[:50],
}


@pytest.mark.parametrize("text", ODD.values(), ids=ODD)
def test_an_odd_file_of_tags_is_left_out_by_name(text: str, here: Path, broker: Broker) -> None:
    (here / "good.tags.json").write_text(json.dumps(told()))
    (here / "odd.tags.json").write_text(text)
    found, left = tagged.among(broker, [here])
    assert [entry.tags.name for entry in found] == ["good.tags.json"]
    assert left == [tagged.LeftOut(here / "odd.tags.json", tagged.ODD)]


def test_odd_files_do_not_end_a_search(here: Path, model: Path) -> None:
    media.ffmpeg("-f", "lavfi", "-i", "color=red:s=64x48", "-frames:v", "1", here / "photo.png")
    assert type_((PYTHON, "-m", "services.tag", "photo.png", "--model", str(model)), here, QUICK).code == 0
    (here / "odd.tags.json").write_text(ODD["dim"])
    os.mkfifo(here / "pipe.tags.json")
    said = find(here, "a dog", ".")
    assert said.code == 0, said.err
    assert [line.split("\t")[0] for line in said.lines] == [str(here / "photo.png")]
    assert "left out, since they are no tags as `tag` writes them: odd.tags.json\n" in said.err


def test_a_sheet_is_a_png_that_anybody_reads(tmp_path: Path) -> None:
    pictures = [bytes([number, 20, 30]) * (search.WIDTH * search.HEIGHT) for number in range(7)]
    (tmp_path / "sheet.png").write_bytes(search.sheet(pictures))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (5 * search.WIDTH, 2 * search.HEIGHT)
        assert [sheet.getpixel((number * search.WIDTH, 0)) for number in range(5)] == [(n, 20, 30) for n in range(5)]
        assert sheet.getpixel((search.WIDTH, search.HEIGHT)) == (6, 20, 30)
        assert sheet.getpixel((2 * search.WIDTH, search.HEIGHT)) == (0, 0, 0)
