"""Caption as a command: which models it takes, and what it makes."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from broker.errors import UsageError
from broker.models import catalogue
from broker.scripts import folder, read_header
from services.caption import SERVICE, Caption
from tests import media
from tests.remote_scripts.captioned import captioners, scene
from tests.services.typed import ROOT, Said, Word, type_

__all__ = ["captioners"]  # a fixture

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SLOW = {"OMP_NUM_THREADS": "1"}


def caption(cwd: Path, *words: Word) -> Said:
    return type_([sys.executable, "-m", "services.caption", *words], cwd, SLOW)


def test_a_clip_and_a_photo_are_captioned_by_one_command(here: Path, captioners: Path) -> None:
    media.clip(here / "clip.mp4", 2)
    scene(1, 300).save(here / "photo.jpg")
    said = caption(here, "clip.mp4", "photo.jpg", "-o", "said/", "--model", captioners / "blip", "-f", "json,txt")
    assert said.code == 0, said.err
    names = ["clip.captions.json", "clip.captions.txt", "photo.captions.json", "photo.captions.txt"]
    assert sorted(path.name for path in (here / "said").iterdir()) == names
    assert said.lines == [str(here / "said" / name) for name in names]
    clip, photo = (json.loads((here / "said" / name).read_text()) for name in names[::2])
    assert clip["model"] == "blip"
    assert len(clip["captions"]) == 3
    assert [entry["seconds"] for entry in photo["captions"]] == [0.0]
    assert (here / "said/clip.captions.txt").read_text() == clip["description"] + "\n"
    assert photo["description"][:60] in said.err


def test_the_header_asks_for_what_the_extra_does() -> None:
    header = read_header(folder() / "caption.py")
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["caption"]
    assert sorted(header["dependencies"]) == sorted(need for need in extra if not need.startswith("offload-broker"))
    assert header["tool"]["offload"]["take-from-target"] == ["torch"]


def test_a_model_that_nobody_knows_is_answered_with_those_that_are_near(here: Path) -> None:
    said = caption(here, "clip.mp4", "--model", "blip-bas")
    assert said.code == 2
    assert "blip-base" in said.err and "offload models ls" in said.err


def test_a_model_from_elsewhere_goes_by_its_files_name() -> None:
    assert Caption(model="https://host/folder/mine.safetensors").for_script()["model"] == "mine.safetensors"


def test_the_default_is_the_catalogues() -> None:
    assert Caption().model == catalogue.default("caption").name
    assert Caption().models() == {"model": catalogue.default("caption").source}


@pytest.mark.parametrize("name", ["blip-base", "blip-large", "git-base", "git-large"])
def test_frames_are_prepared_as_the_model_wants_them(name: str) -> None:
    entry = catalogue.find("caption", name)
    assert entry.frame
    assert Caption(model=name, frames=5).for_preparation() == {"count": 5, "frame": entry.frame}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param({"model": "moondream2"}, "code of its own", id="not trusted"),
        pytest.param({"model": f"moondream2@{COMMIT}"}, "code of its own", id="pinned, not trusted"),
        pytest.param({"model": "moondream2", "trust_remote_code": True}, "to the commit", id="not pinned"),
        pytest.param({"model": "some/model@main", "trust_remote_code": True}, "to the commit", id="pinned to a branch"),
    ],
)
def test_code_of_a_models_own_is_trusted_by_name_and_commit_or_not_at_all(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        Caption(**values)
    repository = "some/model" if "some" in values["model"] else "vikhyatk/moondream2"
    assert f"--trust-remote-code --model {repository}@COMMIT" in caught.value.hint


def test_one_that_is_trusted_by_commit_is_taken_and_a_folder_of_ones_own(tmp_path: Path) -> None:
    named = Caption(model=f"moondream2@{COMMIT}", trust_remote_code=True)
    assert named.models() == {"model": f"hf:vikhyatk/moondream2@{COMMIT}"}
    assert Caption(model=str(tmp_path), trust_remote_code=True).models() == {"model": f"path:{tmp_path}"}


def test_the_script_is_told_no_path_of_the_users(tmp_path: Path) -> None:
    told = Caption(model=str(tmp_path)).for_script()
    assert told["model"] == tmp_path.name


@pytest.mark.parametrize(
    ("dest", "formats", "made"),
    [
        ("clip.captions.json", None, {"captions.json": "clip.captions.json"}),
        ("out.txt", None, {"captions.txt": "out.txt"}),
        ("out.json", "json,txt", {"captions.json": "out.json", "captions.txt": "out.txt"}),
        ("out.json", "txt", {"captions.txt": "out.txt"}),
    ],
)
def test_a_file_for_each_format(dest: str, formats: str | None, made: dict[str, str]) -> None:
    found = SERVICE.outputs(Path(dest), Caption.model_validate({"format": formats}))
    assert found == {name: Path(path) for name, path in made.items()}
    assert SERVICE.options(Path(dest)) == {"format": dest.rpartition(".")[2]}


def test_a_person_reads_the_beginning_of_the_description() -> None:
    assert SERVICE.describe({"description": "A dog."}) == "A dog."
    assert len(SERVICE.describe({"description": "word " * 100})) <= 120
