"""A repository in the user's cache is taken for the model only where all of its weights are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker import models
from broker.errors import MissingHere
from broker.models import lock
from broker.settings import Settings
from tests.hub import Hub, cached

REVISION = "f" * 40
FIRST, SECOND, INDEX = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index"
SHARDS = {
    "config.json": b"{}",
    FIRST: b"one",
    SECOND: b"two",
    f"{INDEX}.json": json.dumps({"weight_map": {"a": FIRST, "b": SECOND}}).encode(),
}
HALVES = {
    "a shard without the other": {"config.json": b"{}", FIRST: b"one"},
    "all shards without their index": {name: SHARDS[name] for name in ("config.json", FIRST, SECOND)},
    "an index of what is not there": {name: SHARDS[name] for name in ("config.json", FIRST, f"{INDEX}.json")},
    "an index beside another format": {**SHARDS, "pytorch_model.bin": b"old", FIRST: None, SECOND: None},
    "half of an index": {**SHARDS, f"{INDEX}.json": b'{"weight_map": {"a"'},
    "an index of nothing": {**SHARDS, f"{INDEX}.json": b"[]"},
    "no weights": {"config.json": b"{}"},
}


def half(home: Path, which: str) -> None:
    files = {name: content for name, content in HALVES[which].items() if content is not None}
    cached(home, "a/b", REVISION, files)


@pytest.mark.parametrize("which", HALVES)
def test_half_a_model_is_none(home: Path, offline: Settings, which: str) -> None:
    half(home, which)
    with pytest.raises(MissingHere, match=r"a/b \(size unknown\) is not here"):
        models.resolve("hf:a/b", offline)
    assert lock.pins(offline) == {}


@pytest.mark.parametrize("which", HALVES)
def test_half_a_model_is_completed_by_the_hub(hub: Hub, home: Path, config: Settings, which: str) -> None:
    half(home, which)
    revision = hub.publish("a/b", SHARDS)
    pin = models.resolve("hf:a/b", config)
    assert (pin.revision, {file.path for file in pin.files}) == (revision, set(SHARDS))


def test_a_whole_one_is_taken_where_nobody_can_be_asked(home: Path, offline: Settings) -> None:
    cached(home, "a/b", REVISION, SHARDS)
    pin = models.resolve("hf:a/b", offline)
    assert {file.path for file in pin.files} == set(SHARDS)
    assert lock.find(offline, "hf:a/b") == pin
