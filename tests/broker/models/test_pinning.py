"""The first use of a model settles what it is; nothing later changes that."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker import models
from broker.errors import ConfigError, InputError, MissingHere, UsageError
from broker.models import lock, store
from broker.settings import Settings
from tests.hub import Hub, Trouble, cached, sha256

FILES = {"config.json": b"{}", "model.safetensors": b"weights", "README.md": b"read me"}


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """Every attempt to reach anybody, which is refused."""
    asked: list[object] = []

    def refuse(_: socket.socket, address: object) -> None:
        asked.append(address)
        raise AssertionError(f"{address} was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield asked


def test_a_repository_is_its_revision_and_the_hash_of_each_file(hub: Hub, config: Settings) -> None:
    revision = hub.publish("a/b", FILES)
    pin = models.resolve("hf:a/b", config)
    assert (pin.revision, pin.name) == (revision, "a/b")
    known = {file.path: (file.sha256, file.size) for file in pin.files}
    assert known == {path: (sha256(FILES[path]), len(FILES[path])) for path in ("config.json", "model.safetensors")}


def test_later_commits_change_nothing_and_nobody_is_asked_again(hub: Hub, config: Settings) -> None:
    hub.publish("a/b", FILES)
    first = models.resolve("hf:a/b", config)
    hub.publish("a/b", {**FILES, "model.safetensors": b"other"})
    asked = len(hub.asked)
    assert models.resolve("hf:a/b", config) == first
    assert len(hub.asked) == asked


def test_a_revision_that_is_named_is_taken(hub: Hub, config: Settings) -> None:
    old = hub.publish("a/b", FILES)
    hub.publish("a/b", {**FILES, "model.safetensors": b"other"})
    assert models.resolve(f"hf:a/b@{old}", config).revision == old
    assert models.resolve("hf:a/b", config).revision != old


def test_what_was_fetched_to_learn_its_hash_is_kept(hub: Hub, config: Settings) -> None:
    hub.publish("a/b", FILES)
    pin = models.resolve("hf:a/b", config)
    assert [file.path for file in store.missing(pin, config)] == ["model.safetensors"]
    assert hub.gets("model.safetensors") == []


def test_code_is_pinned_for_a_model_that_brings_its_own(hub: Hub, config: Settings) -> None:
    files = {**FILES, "modeling.py": b"print()"}
    revision = hub.publish("vikhyatk/moondream2", files)
    hub.publish("a/b", files)
    pin = models.resolve(f"hf:vikhyatk/moondream2@{revision}", config)
    assert "modeling.py" in [file.path for file in pin.files]
    assert "modeling.py" not in [file.path for file in models.resolve("hf:a/b", config).files]


def test_a_file_whose_hash_is_published_needs_no_network(home: Path, offline: Settings, silence: list[object]) -> None:
    from broker.models import catalogue

    entry = catalogue.find("transcribe", "tiny")
    pin = models.resolve(entry.source, offline)
    assert (pin.name, [(file.path, file.sha256) for file in pin.files]) == ("tiny", [("tiny.pt", entry.sha256)])
    assert not silence


def test_any_other_file_is_fetched_to_learn_what_it_is(hub: Hub, config: Settings) -> None:
    url = hub.file("some/base.pt", b"content")
    pin = models.resolve(url, config)
    assert [(file.path, file.sha256, file.url) for file in pin.files] == [("base.pt", sha256(b"content"), url)]
    assert store.missing(pin, config) == []
    hub.troubles["gone.pt"] = Trouble(status=404)
    with pytest.raises(UsageError, match="nothing at"):
        models.resolve(hub.file("gone.pt", b""), config)


def test_what_the_users_cache_holds_is_preferred_to_what_is_newer(hub: Hub, home: Path, config: Settings) -> None:
    old = hub.publish("a/b", FILES)
    hub.publish("a/b", {**FILES, "model.safetensors": b"other"})
    cached(home, "a/b", old, FILES)
    pin = models.resolve("hf:a/b", config)
    assert pin.revision == old
    assert store.missing(pin, config) == []


def test_offline_the_users_cache_will_do(home: Path, offline: Settings, silence: list[object]) -> None:
    folder = cached(home, "a/b", "f" * 40, FILES)
    pin = models.resolve("hf:a/b", offline)
    assert pin.revision == "f" * 40
    assert set(store.here(pin, offline).values()) == {folder / "config.json", folder / "model.safetensors"}
    assert not silence


def test_a_cache_without_weights_does_not(home: Path, offline: Settings) -> None:
    cached(home, "a/b", "f" * 40, {"config.json": b"{}"})
    with pytest.raises(MissingHere):
        models.resolve("hf:a/b", offline)


def test_where_the_hub_is_out_of_reach_the_users_cache_will_do(
    home: Path, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(MissingHere, match=r"http://127\.0\.0\.1:9 cannot be asked") as refused:
        models.resolve("hf:a/b", config)
    assert refused.value.hint == "offload models prefetch a/b"
    cached(home, "a/b", "f" * 40, FILES)
    assert models.resolve("hf:a/b", config).revision == "f" * 40


def test_offline_nobody_is_asked(home: Path, offline: Settings, silence: list[object]) -> None:
    for source in ("hf:Salesforce/blip-image-captioning-base", "hf:a/b", "https://example.org/x.pt"):
        with pytest.raises(
            MissingHere, match=r"\((about 990 MB|size unknown)\) is not here, and no network"
        ) as refused:
            models.resolve(source, offline)
        assert refused.value.hint.startswith("offload models prefetch ")
    assert not silence


def test_a_gated_repository_names_its_page_and_the_variable(
    hub: Hub, config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish("a/gated", FILES, gated=True)
    with pytest.raises(ConfigError, match="gated") as refused:
        models.resolve("hf:a/gated", config)
    assert f"{hub.endpoint}/a/gated" in refused.value.hint
    assert "HF_TOKEN" in refused.value.hint
    hub.members.add("hf_secret")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert len(models.resolve("hf:a/gated", config).files) == 2
    assert "hf_secret" not in lock.file(config).read_text()


@pytest.mark.parametrize(
    ("source", "said"),
    [("hf:a/none", "no repository a/none"), ("hf:a/b@v9", "no revision v9"), ("hf:a/empty", "holds no weights")],
)
def test_what_is_not_there_is_said_in_a_sentence(hub: Hub, config: Settings, source: str, said: str) -> None:
    hub.publish("a/b", FILES)
    hub.publish("a/empty", {"config.json": b"{}"})
    with pytest.raises(UsageError, match=said):
        models.resolve(source, config)
    assert lock.pins(config) == {}


def test_a_path_is_looked_at_each_time(tmp_path: Path, config: Settings) -> None:
    path = tmp_path / "my model.pt"
    path.write_bytes(b"one")
    pin = models.resolve(f"path:{path}", config)
    assert [(file.path, file.sha256) for file in pin.files] == [("my_model.pt", sha256(b"one"))]
    assert pin.paths == {"my_model.pt": path}
    path.write_bytes(b"two")
    assert models.resolve(f"path:{path}", config).files[0].sha256 == sha256(b"two")
    assert lock.pins(config) == {}


def test_a_folder_is_its_model_files(tmp_path: Path, config: Settings) -> None:
    for path, content in FILES.items():
        (tmp_path / path).write_bytes(content)
    pin = models.resolve(f"path:{tmp_path}", config)
    assert [file.path for file in pin.files] == ["config.json", "model.safetensors"]
    assert pin.paths["config.json"] == tmp_path / "config.json"
    assert str(tmp_path) not in json.dumps(replace(pin, name="mine").told("model", shared=False))


def test_a_path_without_a_model_is_refused(tmp_path: Path, config: Settings) -> None:
    with pytest.raises(InputError, match="No such file"):
        models.resolve(f"path:{tmp_path}/nothing.pt", config)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=re.escape(f"{tmp_path}/folder holds no model")):
        models.resolve(f"path:{tmp_path}/folder", config)
