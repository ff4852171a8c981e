"""`offload doctor --offline`: which services work without a network, found out by letting them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import av
import pytest

from broker import settings
from broker.models import resolve
from offload.readiness import FAILED, MISSING, NOT_INSTALLED, READY, Readiness, exit_code
from offload.sample import sample
from tests.hub import Hub
from tests.services import everywhere
from tests.services.typed import OFFLOAD, Said, type_

NAME = "Salesforce/blip-image-captioning-base"
BLIP = f"models--{NAME.replace('/', '--')}"
QUIET = {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def cached(home: Path) -> Path:
    """The default captioner, as the hub's own client leaves it in the user's cache."""
    folder = home / "huggingface" / "hub" / BLIP
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("f" * 40)
    return Path(shutil.copytree(everywhere.model(everywhere.CAPTION), folder / "snapshots" / ("f" * 40)))


def table(here: Path, before: Sequence[str] = ()) -> tuple[Said, dict[str, list[str]]]:
    said = type_([*before, *OFFLOAD, "doctor", "--offline"], here, QUIET)
    rows = [line.split("\t") for line in said.lines]
    return said, {row[0]: row[1:] for row in rows}


def without_network() -> list[str]:
    for words in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        if shutil.which("unshare") and not subprocess.run([*words, "true"], capture_output=True).returncode:
            return words
    pytest.skip("a namespace without network is not allowed here")


def test_what_is_missing_is_named_with_its_size_and_nobody_is_asked(here: Path, hub: Hub) -> None:
    said, rows = table(here)
    assert said.code == 4, said.err
    assert rows["stabilize"] == ["-", "ready"]
    assert rows["caption"][:2] == ["blip-base", "missing"]
    assert rows["caption"][2].startswith("about 990 MB: ")
    assert rows["caption"][2].endswith("offload models prefetch blip-base")
    assert hub.asked == []


def test_a_service_whose_model_is_here_works_where_the_kernel_has_no_network(
    here: Path, cached: Path, offload_dirs: Path
) -> None:
    said, rows = table(here, without_network())
    assert rows["caption"] == ["blip-base", "ready"], said.out
    assert said.code == 4  # the others have none
    assert type_([*OFFLOAD, "jobs", "ls", "--json"], here).document == []
    assert [*here.iterdir(), *(offload_dirs / "cache" / "local" / "jobs").iterdir()] == []


def test_a_model_that_cannot_be_loaded_is_no_ready_one(here: Path, cached: Path, hub: Hub) -> None:
    (cached / "config.json").write_text("{")
    said, rows = table(here)
    assert rows["caption"][:2] == ["blip-base", "failed"]
    assert rows["caption"][2].startswith("the model cannot be loaded: ")
    assert "jobs logs" not in rows["caption"][2]  # of a journal that is gone
    assert said.code == 6
    assert hub.asked == []


def test_a_model_that_is_not_what_it_was_is_missing(here: Path, cached: Path) -> None:
    offline = settings.load().model_copy(update={"offline": True})
    assert resolve(f"hf:{NAME}", offline).revision == "f" * 40
    (cached / "model.safetensors").write_bytes(b"something else")
    said, rows = table(here)
    assert rows["caption"][:2] == ["blip-base", "missing"]
    assert "offload models prefetch blip-base" in rows["caption"][2]
    assert said.code == 4


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([READY, READY], 0),
        ([READY, NOT_INSTALLED], 0),
        ([READY, MISSING], 4),
        ([MISSING, FAILED], 6),
    ],
)
def test_the_exit_code_is_that_of_the_services_that_are_installed(states: list[str], code: int) -> None:
    assert exit_code([Readiness("a", "b", state) for state in states]) == code


def test_samples_are_what_they_say(tmp_path: Path) -> None:
    with av.open(str(sample({".mp4", ".png"}, tmp_path))) as clip:
        assert sum(1 for _ in clip.decode(video=0)) == 10
    with av.open(str(sample({".wav"}, tmp_path))) as sound:
        assert sum(frame.samples for frame in sound.decode(audio=0)) == 16_000
    with av.open(str(sample({".png"}, tmp_path))) as picture:
        assert [(frame.width, frame.height) for frame in picture.decode(video=0)] == [(320, 240)]
    with pytest.raises(LookupError, match=r"\.pdf"):
        sample({".pdf"}, tmp_path)
