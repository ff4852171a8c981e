"""The catalogue says no more than is known, and every word that may name a model does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from broker.errors import UsageError
from broker.models import catalogue
from broker.models.catalogue import absent, default, entries, find
from broker.models.pin import HUB

SERVICES = {
    "transcribe": ("whisper", "faster-whisper"),
    "tag": ("open_clip",),
    "caption": ("transformers",),
    "upscale": ("spandrel",),
}


def test_names_are_one_models_each() -> None:
    names = [entry.name for entry in entries()]
    assert len(set(names)) == len(names) >= 25


def test_no_entry_names_a_revision_or_claims_what_nobody_checked() -> None:
    for entry in entries():
        assert entry.source.startswith((HUB, "https://"))
        assert "@" not in entry.source
        assert not entry.verified


@pytest.mark.parametrize(("service", "engine"), [(name, one) for name, all_ in SERVICES.items() for one in all_])
def test_every_engine_has_one_default(service: str, engine: str) -> None:
    chosen = [entry for entry in entries() if (entry.service, entry.engine) == (service, engine) and entry.default]
    assert chosen == [default(service, engine)]
    assert default(service).engine == SERVICES[service][0]


@pytest.mark.parametrize("profile", ["edge", "minimum", "production"])
def test_a_profile_has_a_model_for_every_service(profile: str) -> None:
    found = [entry.service for entry in entries() if profile in entry.profiles]
    assert sorted(found) == sorted(SERVICES)


def test_addresses_and_hashes_of_whisper_are_those_of_its_own_package() -> None:
    whisper = pytest.importorskip("importlib.util").find_spec("whisper")
    text = Path(whisper.origin).read_text("utf-8")
    known = {url.rpartition("/")[2]: url for url in re.findall(r'"(https://openaipublic[^"]+)"', text)}
    ours = [entry for entry in entries() if entry.engine == "whisper"]
    assert len(ours) == 10
    for entry in ours:
        assert entry.source == known[entry.source.rpartition("/")[2]]
        assert entry.sha256 == entry.source.split("/")[-2]


def test_repositories_of_faster_whisper_are_those_its_own_package_names() -> None:
    text = Path(pytest.importorskip("importlib.util").find_spec("faster_whisper").origin).with_name("utils.py")
    known = set(re.findall(r'"([\w.-]+/[\w.-]+)"', text.read_text("utf-8")))
    assert {entry.source.removeprefix(HUB) for entry in entries() if entry.engine == "faster-whisper"} <= known


def test_a_name_is_that_of_the_engine_that_was_asked_for() -> None:
    assert find("transcribe", "base").engine == "whisper"
    assert find("transcribe", "base", "faster-whisper").source == "hf:Systran/faster-whisper-base"
    assert find("", "faster-whisper-base").engine == "faster-whisper"


def test_a_revision_may_be_chosen() -> None:
    entry = find("caption", "moondream2@" + "a" * 40)
    assert entry.source == "hf:vikhyatk/moondream2@" + "a" * 40
    assert entry.trust_remote_code
    same = find("caption", "Salesforce/blip-image-captioning-base@v1")
    assert same == find("caption", "blip-base@v1") == catalogue.about(same.source)
    assert (same.name, same.frame) == ("blip-base@v1", "384x384")


@pytest.mark.parametrize("word", ["base", "blip-base@v1", "owner/other", "owner/other@v2", "https://example.org/x.pt"])
def test_what_a_model_is_called_is_a_word_that_finds_it(word: str) -> None:
    entry = find("", word)
    assert find("", catalogue.about(entry.source).word) == entry


def test_any_repository_or_path_is_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.pt").touch()
    (tmp_path / "owner/name").mkdir(parents=True)
    assert find("tag", "mine.pt").source == f"path:{tmp_path}/mine.pt"
    assert find("tag", f"path:{tmp_path}/mine.pt").source == f"path:{tmp_path}/mine.pt"
    assert find("tag", "owner/name").source == f"path:{tmp_path}/owner/name"
    assert find("tag", "owner/other@v2").source == "hf:owner/other@v2"
    assert find("tag", "owner/other").frame == ""


@pytest.mark.parametrize(
    ("service", "word", "near"),
    [
        ("transcribe", "larg-v3", "large-v3"),
        ("transcribe", "smal.en", "small.en"),
        ("caption", "blipbase", "blip-base"),
        ("tag", "vit-b-32", "ViT-B-32"),
        ("tag", "../nothing", "ViT-B-32"),
        ("caption", "moondream2@", "moondream2"),
        ("tag", "", "ViT-B-32"),
    ],
)
def test_an_unknown_word_is_refused_with_the_nearest_names(service: str, word: str, near: str) -> None:
    with pytest.raises(UsageError, match=re.escape(near)) as refused:
        find(service, word)
    assert refused.value.hint == "offload models ls"


def test_what_is_absent_is_named_with_its_size_and_what_fetches_it() -> None:
    error = absent([find("caption", "blip-base"), catalogue.Entry("a/b", "hf:a/b")])
    assert "blip-base (about 990 MB), a/b (size unknown) are not here" in str(error)
    assert (error.exit_code, error.hint) == (4, "offload models prefetch blip-base a/b")


@pytest.mark.parametrize(
    "word",
    [
        "http://host/w.pt?token=SECRET",
        "HTTPS://host/w.pt?X-Amz-Signature=SECRET",
        "https://me:SECRET@host/w.pt",
        "https://SECRET@host/w.pt",
        "https://host/w.pt#SECRET",
    ],
)
def test_an_address_that_may_hold_a_secret_is_refused_and_not_repeated(word: str) -> None:
    with pytest.raises(UsageError, match="no user, no password, and nothing after") as caught:
        find("transcribe", word)
    assert "SECRET" not in f"{caught.value} {caught.value.hint}"
    assert "name it: --model" in caught.value.hint


@pytest.mark.parametrize("word", ["http://", "https:///w.pt", "https://[host/w.pt", "https://host/my model.pt"])
def test_an_address_of_nothing_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match="no address of a file"):
        find("transcribe", word)


def test_a_file_elsewhere_is_called_by_its_name_alone() -> None:
    entry = find("transcribe", "https://host/some/folder/w.pt")
    assert (entry.name, entry.word) == ("w.pt", "https://host/some/folder/w.pt")
    refused = catalogue.absent([entry])
    assert str(refused).startswith("w.pt (size unknown) is not here")
    assert refused.hint == "offload models prefetch https://host/some/folder/w.pt"
