"""`offload models`: what a word means, and whose the files are that several models share."""

from __future__ import annotations

from pathlib import Path

import pytest

import tests.hub as double
from tests.hub import Hub, sha256
from tests.offload.typed_models import OTHER, hashes, models, stored
from tests.services.typed import OFFLOAD, type_


@pytest.fixture
def hub(hub: Hub) -> Hub:
    """It has a model."""
    hub.publish("a/other", OTHER)
    return hub


@pytest.fixture
def store(offload_dirs: Path) -> Path:
    """Where models are here."""
    return offload_dirs / "cache" / "local" / "models"


def test_another_models_files_are_not_deleted(here: Path, hub: Hub, store: Path) -> None:
    hub.publish("a/same", {**OTHER, "tokenizer.json": b"{1}"})
    models(here, "prefetch", "a/same", "a/other")
    assert models(here, "rm", "a/same").code == 0
    assert stored(store) == hashes(OTHER)
    assert models(here, "verify", "a/other").code == 0
    assert models(here, "verify", "a/same").code == 4


def test_an_address_with_a_secret_is_written_nowhere(here: Path, hub: Hub, offload_dirs: Path) -> None:
    word = hub.file("base.pt", b"content") + "?token=SECRET"
    said = models(here, "prefetch", word)
    assert (said.code, "SECRET" in said.err) == (2, False)
    said = type_([*OFFLOAD, "transcribe", "talk.mp4", "--model", word], here)
    assert (said.code, "SECRET" in said.err) == (2, False)
    assert [path for path in offload_dirs.rglob("*") if path.is_file() and b"SECRET" in path.read_bytes()] == []
    assert hub.asked == []


def test_a_file_that_was_used_before_goes_by_its_name(here: Path, hub: Hub, store: Path) -> None:
    url = hub.file("some/mine.pt", b"content")
    assert models(here, "prefetch", url).lines == ["mine.pt"]
    assert models(here, "verify", "mine.pt").lines == ["mine.pt\tok"]
    assert models(here, "verify", url).lines == ["mine.pt\tok"]
    models(here, "prefetch", hub.file("other/mine.pt", b"another"))
    said = models(here, "rm", "mine.pt")
    assert (said.code, "mine.pt is the name of several models" in said.err) == (2, True)
    assert models(here, "rm", url, "--unpin").code == 0
    assert stored(store) == {sha256(b"another")}


def test_files_that_stay_for_another_model_are_said_to(here: Path, hub: Hub, store: Path) -> None:
    models(here, "prefetch", "a/other", "a/other@main")
    said = models(here, "rm", "a/other", "--unpin")
    assert "2 of its files stay on local: they are those of a/other@main, too" in said.err
    assert "nothing of" not in said.err
    assert stored(store) == hashes(OTHER)
    assert "0.3 MB are free again on local" in models(here, "rm", "a/other@main").err
    assert stored(store) == set()


def test_a_file_of_ones_own_has_no_pin_and_no_advice_that_cannot_help(here: Path) -> None:
    (here / "own.pt").write_bytes(b"mine")
    for verb in ("verify", "rm"):
        said = models(here, verb, "own.pt")
        assert (said.code, "which has no pin" in said.err, "prefetch" in said.err) == (4, True, False)


def test_offline_the_catalogues_size_is_said(here: Path, hub: Hub) -> None:
    said = models(here, "prefetch", "base", OFFLOAD_OFFLINE="1")
    assert (said.code, "base (about 145 MB) is not here" in said.err) == (4, True), said.err


def test_a_pin_that_nothing_fits_is_forgotten_by_the_command_that_is_named(
    here: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = double._sizes
    lie = {"lfs": {"sha256": sha256(b"x"), "size": len(OTHER["model.safetensors"]), "pointerSize": 1}}
    with monkeypatch.context() as lying:
        lying.setattr(double, "_sizes", lambda *of: honest(*of) | (lie if of[0] == "model.safetensors" else {}))
        said = models(here, "prefetch", "a/other")
    assert (said.code, "not 2d711642b726... as pinned" in said.err) == (4, True), said.err
    assert said.err.rstrip().endswith("offload models rm a/other --unpin")
    assert models(here, "prefetch", "a/other").code == 4
    assert models(here, "rm", "a/other", "--unpin").code == 0
    assert models(here, "prefetch", "a/other").lines == ["a/other"]


def test_a_hub_that_lies_is_told_from_one_that_is_away(here: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(double._Handler, "_about", lambda *_: {"id": "a/other", "sha": None, "siblings": []})
    said = models(here, "prefetch", "a/other")
    assert (said.code, "Traceback" in said.err, "cannot be: its commit is given as 'None'" in said.err) == (
        9,
        False,
        True,
    )
