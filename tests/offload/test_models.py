"""`offload models`: fetched before it is needed, on whatever machine, exactly as pinned; and every failure says so."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.executors.sshd import needs_sshd, sshd
from tests.executors.test_local import tmpfs
from tests.hub import Hub, Trouble, sha256
from tests.offload.background import until
from tests.offload.typed_models import BLIP, FILES, OTHER, hashes, models, row, stored
from tests.services.typed import OFFLOAD, environment

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def hub(hub: Hub) -> Hub:
    """It has two models."""
    hub.publish(BLIP, FILES)
    hub.publish("a/other", OTHER)
    return hub


@pytest.fixture
def store(offload_dirs: Path) -> Path:
    """Where models are here."""
    return offload_dirs / "cache" / "local" / "models"


def on_box(offload_dirs: Path, options: dict[str, str]) -> None:
    lines = [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    (offload_dirs / "config" / "targets.toml").write_text("\n".join(["[box]", *lines]))


def test_a_model_is_fetched_once_and_known_from_then_on(here: Path, hub: Hub, store: Path) -> None:
    before = row(here, "blip-base")
    assert (before["here"], before["revision"], before["verified"]) == ("no", "", False)
    said = models(here, "prefetch", "blip-base", "a/other")
    assert (said.code, said.lines) == (0, ["blip-base", "a/other"]), said.err
    assert stored(store) == hashes(FILES) | hashes(OTHER)
    after = row(here, "blip-base")
    assert (after["here"], after["verified"], after["size_bytes"]) == ("yes", True, 2 + 15 * 20_000)
    assert row(here, "a/other")["here"] == "yes"
    hub.publish(BLIP, OTHER)
    asked = len(hub.asked)
    assert models(here, "prefetch", "blip-base").code == 0
    assert (len(hub.asked), row(here, "blip-base")["revision"]) == (asked, after["revision"])
    assert models(here, "verify").lines == ["blip-base\tok", "a/other\tok"]


def test_the_list_says_what_nobody_has_checked(here: Path) -> None:
    lines = models(here, "ls", "--service", "caption").lines
    assert "blip-base\tcaption\tBSD-3-Clause\t990 MB, unverified\t-\tno" in lines
    assert all(line.split("\t")[1] == "caption" for line in lines)


@pytest.mark.parametrize("words", [["--service", "caption"], ["--profile", "minimum", "--service", "caption"]])
def test_a_service_or_a_profile_names_its_models(here: Path, hub: Hub, store: Path, words: list[str]) -> None:
    said = models(here, "prefetch", *words)
    assert (said.code, said.lines) == (0, ["blip-base"]), said.err
    assert stored(store) == hashes(FILES)


def test_what_fails_is_said_and_the_rest_is_done(here: Path, hub: Hub) -> None:
    hub.publish("a/gated", OTHER, gated=True)
    said = models(here, "prefetch", "a/gated", "a/none", "blip-base")
    assert (said.code, said.lines) == (101, ["blip-base"])
    assert f"agree at {hub.endpoint}/a/gated, then set HF_TOKEN" in said.err
    assert "there is no repository a/none" in said.err
    assert models(here, "prefetch", "a/gated").code == 7
    assert models(here, "prefetch", "a/none").code == 2


def test_a_word_that_names_nothing_is_refused_before_anything_is_fetched(here: Path, hub: Hub, store: Path) -> None:
    said = models(here, "prefetch", "a/other", "blipbase")
    assert (said.code, said.lines) == (2, [])
    assert "near it: blip-base" in said.err
    assert models(here, "prefetch").code == 2
    assert (stored(store), hub.asked) == (set(), [])


def test_offline_nothing_is_asked_for_and_each_missing_model_is_named(here: Path, hub: Hub) -> None:
    said = models(here, "prefetch", "blip-base", "a/other", OFFLOAD_OFFLINE="1")
    assert said.code == 4
    assert "blip-base (about 990 MB) is not here" in said.err
    assert "a/other (size unknown) is not here" in said.err
    assert "offload models prefetch blip-base" in said.err
    assert hub.asked == []


def test_a_hub_that_cannot_be_reached_ends_with_4(here: Path, hub: Hub) -> None:
    said = models(here, "prefetch", "blip-base", HF_ENDPOINT="http://127.0.0.1:9")
    assert said.code == 4
    assert "http://127.0.0.1:9 cannot be asked" in said.err


def test_a_file_that_cannot_be_had_ends_with_4(here: Path, hub: Hub, store: Path) -> None:
    models(here, "prefetch", "a/other")  # what is fetched is not what is broken
    hub.troubles["model.safetensors"] = Trouble(status=404)
    assert models(here, "prefetch", "blip-base").code == 4
    hub.troubles.clear()
    assert models(here, "prefetch", "blip-base").code == 0
    assert hashes(FILES) <= stored(store)


def test_ctrl_c_ends_it_there_too_and_the_next_goes_on(here: Path, hub: Hub, store: Path) -> None:
    trouble = hub.troubles["model.safetensors"] = Trouble(times=1, hold=threading.Event())
    command = subprocess.Popen(
        [*OFFLOAD, "models", "prefetch", "blip-base"], cwd=here, env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert trouble.held.wait(60)
    until(lambda: any(part.stat().st_size for part in store.glob("*.part")), "what was sent is kept")
    command.send_signal(signal.SIGINT)
    said = command.communicate(timeout=60)[1]
    assert trouble.hold
    trouble.hold.set()
    assert command.returncode == 130, said
    assert "stopped; what was fetched counts" in said
    assert list((store.parent / "jobs").iterdir()) == []
    assert models(here, "prefetch", "blip-base").code == 0
    assert [one.first > 0 for one in hub.gets("model.safetensors")] == [False, True]
    assert stored(store) == hashes(FILES)


def test_the_disk_is_looked_at_first(here: Path, hub: Hub, tmp_path: Path) -> None:
    hub.publish("a/big", {"config.json": b"{}", "model.safetensors": bytes(30_000_000)})
    with tmpfs(tmp_path) as small:
        said = models(here, "prefetch", "a/big", OFFLOAD_CACHE_DIR=str(small))
        assert (said.code, said.lines) == (8, [])
        assert "30 MB are to be fetched" in said.err
        assert hub.gets("model.safetensors") == []


def test_a_corrupt_file_is_found_named_and_replaced(here: Path, hub: Hub, store: Path) -> None:
    models(here, "prefetch", "blip-base", "a/other")
    victim = store / sha256(FILES["model.safetensors"])
    victim.chmod(0o600)
    victim.write_bytes(FILES["model.safetensors"][:-1] + b"!")
    said = models(here, "verify")
    assert (said.code, said.lines) == (9, ["blip-base\tcorrupt", "a/other\tok"])
    assert f"{victim} is corrupt" in said.err
    assert "offload models prefetch blip-base" in said.err
    assert models(here, "prefetch", "blip-base").code == 0
    assert models(here, "verify", "blip-base").lines == ["blip-base\tok"]


def test_a_corrupt_file_of_the_users_own_cache_is_named_and_left_alone(here: Path, hub: Hub, home: Path) -> None:
    revision = hub.publish(BLIP, FILES)
    folder = home / "huggingface/hub" / f"models--{BLIP.replace('/', '--')}" / "snapshots" / revision
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"not that")
    assert models(here, "prefetch", "blip-base").code == 0
    assert models(here, "verify", "blip-base").code == 0
    assert (folder / "model.safetensors").read_bytes() == b"not that"
    assert models(here, "rm", "blip-base").code == 0
    said = models(here, "verify", "blip-base")
    assert (said.code, said.lines) == (9, ["blip-base\tcorrupt"])
    assert f"{folder / 'model.safetensors'} is corrupt; it is not ours" in said.err


def test_what_the_users_cache_holds_is_not_fetched(here: Path, hub: Hub, home: Path, store: Path) -> None:
    revision = hub.publish(BLIP, FILES)
    folder = home / "huggingface/hub" / f"models--{BLIP.replace('/', '--')}" / "snapshots" / revision
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(FILES["model.safetensors"])
    assert models(here, "prefetch", "blip-base").code == 0
    assert hub.gets("model.safetensors") == []
    assert row(here, "blip-base")["here"] == "yes"


def test_only_who_asks_for_it_gets_a_newer_one(here: Path, hub: Hub) -> None:
    models(here, "prefetch", "a/other")
    newer = hub.publish("a/other", FILES)
    models(here, "rm", "a/other")
    models(here, "prefetch", "a/other")
    assert row(here, "a/other")["revision"] != newer
    models(here, "rm", "a/other", "--unpin")
    models(here, "prefetch", "a/other")
    assert row(here, "a/other")["revision"] == newer


def test_a_damaged_lock_file_is_said_and_kept(here: Path, hub: Hub, offload_dirs: Path) -> None:
    file = offload_dirs / "config" / "models.lock"
    file.write_text('{"version": 1, "mod')
    for words in (["ls"], ["verify"], ["prefetch", "blip-base"], ["rm", "blip-base"]):
        said = models(here, *words)
        assert said.code == 7, words
        assert f"{file} cannot be used" in said.err
    assert file.read_text() == '{"version": 1, "mod'


@pytest.mark.parametrize("what", ["a repository's small file", "a file of unknown content"])
def test_ctrl_c_ends_it_while_a_model_is_pinned(here: Path, hub: Hub, store: Path, what: str) -> None:
    hub.publish("a/slow", {**OTHER, "slow.json": bytes(1_000_000)})
    word = "a/slow" if "repository" in what else hub.file("slow.json", bytes(1_000_000))
    trouble = hub.troubles["slow.json"] = Trouble(hold=threading.Event())
    command = subprocess.Popen(
        [*OFFLOAD, "models", "prefetch", word], cwd=here, env=environment(), stderr=subprocess.PIPE, text=True
    )
    assert trouble.held.wait(60)
    command.send_signal(signal.SIGINT)
    said = command.communicate(timeout=60)[1]  # the hub is still silent
    assert (command.returncode, "stopped; what was fetched counts" in said) == (130, True), said
    assert list(store.glob(".*.tmp")) == []


@needs_sshd
def test_another_machine_fetches_its_own(here: Path, hub: Hub, tmp_path: Path, offload_dirs: Path, store: Path) -> None:
    with sshd(tmp_path, HF_ENDPOINT=hub.endpoint) as server:
        on_box(offload_dirs, server.options())
        said = models(here, "prefetch", "blip-base", "--on", "box")
        assert (said.code, said.lines) == (0, ["blip-base"]), said.err
        there = server.folder / "root" / "models"
        assert stored(there) == hashes(FILES)
        assert sha256(FILES["model.safetensors"]) not in stored(store)
        assert row(here, "blip-base", "--on", "box")["here"] == "yes"
        assert row(here, "blip-base")["here"] == "partly"  # what was read to learn its hash
        assert models(here, "rm", "blip-base", "--on", "box").code == 0
        assert stored(there) == set()


@needs_sshd
def test_a_machine_that_can_fetch_nothing_is_sent_the_files(
    here: Path, hub: Hub, tmp_path: Path, offload_dirs: Path
) -> None:
    with sshd(tmp_path, HF_ENDPOINT="http://127.0.0.1:9") as server:
        on_box(offload_dirs, server.options())
        said = models(here, "prefetch", "blip-base", "--on", "box")
        assert (said.code, said.lines) == (4, [])
        assert "the model blip-base is not here to be sent, and not on box" in said.err
        assert "offload models prefetch blip-base\n" in said.err
        assert models(here, "prefetch", "blip-base").code == 0
        said = models(here, "prefetch", "blip-base", "--on", "box")
        assert (said.code, said.lines) == (0, ["blip-base"]), said.err
        assert "it is sent from here" in said.err
        assert stored(server.folder / "root" / "models") == hashes(FILES)
        assert list((server.folder / "root" / "jobs").iterdir()) == []
