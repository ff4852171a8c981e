"""A script's models are there before it starts: found on the machine, else fetched, and always checked."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _runner import blobs, jobs, layout, state, store
from _runner.layout import RunnerError

from tests.hub import Hub, sha256
from tests.remote_scripts.runner.environments import blob, events, messages, verb
from tests.remote_scripts.runner.job import JOB, request, wait_for_end
from tests.remote_scripts.runner.supplies import (
    FILES,
    NAME,
    WEIGHTS,
    begin,
    contents,
    finished,
    linked,
    model,
    provide,
    published,
    stored,
)

HASHES = {sha256(content) for content in FILES.values()}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's caches or tokens."""
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING", "TORCH_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


class TestTheScript:
    def test_finds_every_file_of_its_models(self, root: Path, hub: Hub) -> None:
        vocabulary = {**linked(hub.file("moods.txt", b"calm\n"), b"calm\n"), "role": "vocabulary"}
        seen = finished(begin(root, published(hub), vocabulary))
        found = {f"models/model/{path}": sha256(content) for path, content in FILES.items()}
        assert seen["files"] == {**found, "models/vocabulary/moods.txt": sha256(b"calm\n")}

    def test_is_kept_from_fetching_and_from_the_user_s_caches(self, root: Path, hub: Hub) -> None:
        seen = finished(begin(root, published(hub)))["environment"]
        told = {name: seen[name] for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME")}
        assert all(path.startswith(str(root / "models" / ".home")) for path in told.values())
        assert [seen[name] for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")] == ["1", "1"]
        assert seen["TOKENIZERS_PARALLELISM"] == "false"
        assert "OFFLOAD_OFFLINE" not in seen

    def test_has_that_without_models_too(self, root: Path) -> None:
        seen = finished(begin(root, offline=True))["environment"]
        assert (seen["HF_HUB_OFFLINE"], seen["OFFLOAD_OFFLINE"]) == ("1", "1")

    def test_never_starts_without_its_models(self, root: Path, hub: Hub) -> None:
        folder = begin(root, model("0" * 40))
        wait_for_end(folder)
        assert (state.last_word(folder) or {})["error"]["kind"] == "no_model"
        assert events(folder, "seen") == []

    def test_of_a_prefetch_does_nothing(self, root: Path, hub: Hub) -> None:
        asked_for = request(script="v1/fetch.py", models=[published(hub)], offline=False)
        verb(root, "start", asked_for)
        wait_for_end(root / "jobs" / JOB)
        assert (state.last_word(root / "jobs" / JOB) or {})["exit"] == 0
        assert stored(root) == HASHES


class TestTheStore:
    def test_keeps_what_was_fetched_for_the_next_job(self, root: Path, hub: Hub) -> None:
        wanted = published(hub)
        assert contents(provide(root, wanted)) == FILES
        asked = len(hub.asked)
        assert contents(provide(root, wanted, name=JOB + "next")) == FILES
        assert (len(hub.asked), stored(root)) == (asked, HASHES)

    def test_is_read_only_and_private(self, root: Path, hub: Hub) -> None:
        provide(root, published(hub))
        modes = {stat.S_IMODE(path.stat().st_mode) for path in (root / "models").iterdir()}
        assert (modes, stat.S_IMODE((root / "models").stat().st_mode)) == ({0o400}, 0o700)

    def test_says_what_was_damaged_and_fetches_it_again(self, root: Path, hub: Hub) -> None:
        wanted = published(hub)
        provide(root, wanted)
        damage(root / "models" / sha256(WEIGHTS))
        folder = provide(root, wanted, name=JOB + "next")
        assert contents(folder) == FILES
        assert any("model.safetensors" in said and "was damaged" in said for said in messages(folder))
        assert len(hub.gets("model.safetensors")) == 2

    def test_offline_what_was_damaged_is_refused(self, root: Path, hub: Hub) -> None:
        wanted = published(hub)
        provide(root, wanted)
        damage(root / "models" / sha256(WEIGHTS))
        with pytest.raises(RunnerError, match=r"was damaged .* nothing may be fetched offline; install with:"):
            provide(root, wanted, offline=True, name=JOB + "next")
        assert stored(root) == HASHES - {sha256(WEIGHTS)}

    def test_takes_what_was_sent(self, root: Path, hub: Hub, tmp_path: Path) -> None:
        for number, content in enumerate(FILES.values()):
            (tmp_path / str(number)).write_bytes(content)
            blob(root, tmp_path / str(number))
        assert contents(provide(root, model("0" * 40), offline=True)) == FILES
        (tmp_path / "gc").mkdir()
        blobs.gc(root, {"days": -1, "bytes": 0})  # blobs come and go
        assert contents(provide(root, model("0" * 40), offline=True, name=JOB + "next")) == FILES

    def test_what_was_sent_and_has_decayed_is_fetched(self, root: Path, hub: Hub) -> None:
        (root / "blobs").mkdir()
        (root / "blobs" / sha256(WEIGHTS)).write_bytes(WEIGHTS[1:] + b"x")
        assert contents(provide(root, published(hub))) == FILES
        assert not (root / "blobs" / sha256(WEIGHTS)).exists()

    def test_where_links_are_impossible_it_is_pointed_to(
        self, root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def no_links(*_: object) -> None:
            raise PermissionError("Operation not permitted")

        monkeypatch.setattr(os, "link", no_links)
        assert contents(provide(root, published(hub))) == FILES


class TestTheUsersOwn:
    def test_files_are_used_in_place(self, root: Path, tmp_path: Path) -> None:
        own, wanted = own_model(tmp_path)
        folder = provide(root, wanted, offline=True)
        assert (folder / "models/model/own.pt").readlink() == own
        assert stored(root) == set()

    def test_files_that_have_changed_are_refused(self, root: Path, tmp_path: Path) -> None:
        own, wanted = own_model(tmp_path)
        own.write_bytes(WEIGHTS[::-1])
        with pytest.raises(RunnerError, match=r"own\.pt is not what it was") as caught:
            provide(root, wanted)
        assert caught.value.kind == "changed"

    def test_files_of_another_machine_are_asked_for(self, root: Path, tmp_path: Path) -> None:
        _, wanted = own_model(tmp_path)
        del wanted["paths"]
        with pytest.raises(RunnerError, match="its files are not on this machine"):
            provide(root, wanted)
        (told,) = events(root / "jobs" / JOB, "lacks")
        assert told["models"][0]["files"] == [sha256(WEIGHTS)]

    @pytest.mark.parametrize("said", ["HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME", ""])
    def test_hub_cache_is_used(
        self, root: Path, hub: Hub, home: Path, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted = published(hub)
        cache = hub_cache(home, hub, said, monkeypatch)
        asked = len(hub.asked)
        folder = provide(root, wanted)
        assert contents(folder) == FILES
        assert (folder / "models/model/sub/vocab.txt").readlink().is_relative_to(cache)
        assert (len(hub.asked), stored(root)) == (asked, set())

    def test_big_files_of_another_revision_are_used_there_too(
        self, root: Path, hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.publish(NAME, {**FILES, "config.json": b"{}"})
        hub_cache(home, hub, "HF_HOME", monkeypatch)
        assert contents(provide(root, published(hub))) == FILES
        assert hub.gets("model.safetensors") == hub.gets("model.safetensors")[:1]
        assert sha256(WEIGHTS) not in stored(root)

    def test_hub_cache_that_is_damaged_is_named_and_left_as_it_is(
        self, root: Path, hub: Hub, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted = published(hub)
        (big,) = hub_cache(home, hub, "HF_HOME", monkeypatch).rglob("snapshots/*/model.safetensors")
        damage(big.resolve())
        damaged = big.read_bytes()
        folder = provide(root, wanted)
        assert (contents(folder), big.read_bytes()) == (FILES, damaged)
        assert [said for said in messages(folder) if "left as it is" in said and "model.safetensors" in said]
        assert stored(root) == {sha256(WEIGHTS)}

    @pytest.mark.parametrize(
        ("said", "value", "place"),
        [
            ("XDG_CACHE_HOME", "x", "x/whisper"),
            ("", "", ".cache/whisper"),
            ("TORCH_HOME", "t", "t/hub/checkpoints"),
            ("", "", ".cache/torch/hub/checkpoints"),
        ],
    )
    def test_whisper_and_torch_caches_are_used(
        self, root: Path, hub: Hub, home: Path, said: str, value: str, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if said:
            monkeypatch.setenv(said, str(home / value))
        (home / place).mkdir(parents=True)
        (home / place / "tiny.pt").write_bytes(WEIGHTS)
        wanted = linked(hub.file("tiny.pt", WEIGHTS), WEIGHTS)
        assert (provide(root, wanted) / "models/model/tiny.pt").readlink() == home / place / "tiny.pt"
        assert hub.asked == []


class TestOffline:
    def test_nobody_is_asked_and_everything_that_is_missing_is_named(self, root: Path, hub: Hub) -> None:
        second = {**linked(hub.file("b.pt", b"b" * 20_000_000), b"b" * 20_000_000), "name": "big one", "role": "b"}
        unsized = {**linked(hub.file("c.pt", b"c"), b"c", sized=False), "name": "c", "role": "c"}
        with pytest.raises(RunnerError) as caught:
            provide(root, published(hub), second, unsized, offline=True)
        assert caught.value.kind == "no_model"
        assert str(caught.value) == (
            "tiny (0.4 MB) is not here: nothing may be fetched offline; "
            "big one (20 MB) is not here: nothing may be fetched offline; "
            "c (size unknown) is not here: nothing may be fetched offline; "
            "install with: offload models prefetch tiny 'big one' c"
        )
        (told,) = events(root / "jobs" / JOB, "lacks")
        assert [entry["name"] for entry in told["models"]] == ["tiny", "big one", "c"]
        assert set(told["models"][0]["files"]) == HASHES
        assert hub.asked == []

    def test_what_is_here_will_do(self, root: Path, hub: Hub) -> None:
        wanted = published(hub)
        provide(root, wanted)
        asked = len(hub.asked)
        assert finished(begin(root, wanted, offline=True, name=JOB + "next"))["environment"]["OFFLOAD_OFFLINE"] == "1"
        assert len(hub.asked) == asked


class TestRequests:
    @pytest.mark.parametrize(
        "path",
        ["", "/etc/passwd", "../x", "a/../b", "a//b", ".hidden", "a\\b", "a\nb", "-rf", "a/", "x" * 300, None, 7],
    )
    def test_paths_stay_in_the_model(self, root: Path, path: Any) -> None:
        wanted = {**model("0" * 40), "files": [{"path": path, "sha256": "0" * 64, "size": 1}]}
        with pytest.raises(ValueError, match="path"):
            jobs.start(root, request(models=[wanted]))
        assert not (root / "jobs" / JOB).exists()

    @pytest.mark.parametrize("role", ["", "..", "a/b", "A", "a" * 33])
    def test_roles_are_plain(self, root: Path, role: str) -> None:
        with pytest.raises(ValueError, match="not a role"):
            jobs.start(root, request(models=[model("0" * 40, role=role)]))

    def test_two_files_never_have_one_name(self, root: Path) -> None:
        with pytest.raises(ValueError, match="one name"):
            jobs.start(root, request(models=[model("0" * 40), model("1" * 40)]))

    @pytest.mark.parametrize(
        ("field", "value"),
        [("source", "hf:../x"), ("source", "hf:a/b/c"), ("source", "hf:a/.."), ("revision", "../x"), ("revision", "")],
    )
    def test_sources_are_plain(self, root: Path, field: str, value: str) -> None:
        with pytest.raises(ValueError, match="not a model's"):
            provide(root, {**model("0" * 40), field: value})

    @pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x.pt", "data:,x", "http://a b/"])
    def test_addresses_are_of_the_web(self, root: Path, url: str) -> None:
        with pytest.raises(ValueError, match="not a model's address"):
            provide(root, linked(url, b"x"))


class TestVerbs:
    def test_models_tells_what_is_here(self, root: Path, hub: Hub, tmp_path: Path) -> None:
        provide(root, published(hub))
        (tmp_path / "sent").write_bytes(b"sent")
        known = [*HASHES, blob(root, tmp_path / "sent"), sha256(b"else")]
        here = verb(root, "models", {"sha256": known})["here"]
        assert here == {**dict.fromkeys(known, True), sha256(b"else"): False}

    def test_forget_deletes_and_a_job_that_has_it_keeps_it(self, root: Path, hub: Hub, tmp_path: Path) -> None:
        folder = provide(root, published(hub))
        (tmp_path / "sent").write_bytes(b"sent")
        sent = blob(root, tmp_path / "sent")
        reply = verb(root, "forget", {"sha256": [sha256(WEIGHTS), sent, sha256(b"else")]})
        assert (reply["count"], reply["bytes"]) == (2, len(WEIGHTS) + 4)
        assert stored(root) == HASHES - {sha256(WEIGHTS)}
        assert not layout.blob_path(root, sent).exists()
        assert contents(folder) == FILES

    def test_forget_leaves_what_is_being_fetched(self, root: Path) -> None:
        part = store.claim(root, sha256(WEIGHTS))
        assert part
        with part:
            part.write(WEIGHTS)
            assert verb(root, "forget", {"sha256": [sha256(WEIGHTS)]})["count"] == 0
            part.finish()
        assert stored(root) == {sha256(WEIGHTS)}

    def test_forget_takes_no_path(self, root: Path) -> None:
        with pytest.raises(ValueError, match="not a sha256"):
            store.forget(root, {"sha256": ["../../../x"]})

    def test_gc_sweeps_what_nobody_brings_on_and_nothing_that_is_complete(self, root: Path, hub: Hub) -> None:
        provide(root, published(hub))
        for name in ("a" * 64 + ".part", "b" * 64 + ".1234.tmp"):
            (root / "models" / name).write_bytes(b"x")
        busy = store.claim(root, "c" * 64)
        assert busy
        with busy:
            for path in (root / "models").iterdir():
                os.utime(path, (0, 0))
            reply = blobs.gc(root, {"days": 1, "bytes": 10**12})
            assert reply["count"] == 2
            assert stored(root) == {*HASHES, "c" * 64 + ".part"}


class TestReceipts:
    def test_how_long_it_took_is_told(self, root: Path, hub: Hub) -> None:
        (told,) = events(provide(root, published(hub)), "versions")
        assert 0 <= told["versions"]["models_seconds"] < time.monotonic()


def damage(path: Path) -> None:
    """Turn a bit of a file."""
    path.chmod(0o600)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def own_model(folder: Path) -> tuple[Path, dict[str, Any]]:
    """A file of the user's own, and the model it is."""
    own = folder / "own.pt"
    own.write_bytes(WEIGHTS)
    wanted = {**model("", {"own.pt": WEIGHTS}), "source": f"path:{own}", "paths": {"own.pt": str(own)}}
    return own, wanted


def hub_cache(home: Path, hub: Hub, said: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fill the user's cache by the hub's own client. Returns its folder; the variable `said` names it."""
    from huggingface_hub import snapshot_download

    places = {
        "HF_HOME": "h/hub",
        "HF_HUB_CACHE": "c",
        "XDG_CACHE_HOME": "x/huggingface/hub",
        "": ".cache/huggingface/hub",
    }
    cache = home / places[said]
    if said:
        monkeypatch.setenv(said, str(home / places[said].partition("/")[0]))
    snapshot_download(NAME, cache_dir=cache, endpoint=hub.endpoint, token=False)
    return cache
