"""Fetching models: broken off, spoilt, refused, killed, wanted twice; only what was pinned ever has its name."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _runner import fetching, layout, models, processes, state, store
from _runner.layout import RunnerError

from tests.executors.test_local import tmpfs
from tests.hub import Hub, Trouble, sha256
from tests.remote_scripts.runner.environments import events, messages, verb, wait_for
from tests.remote_scripts.runner.job import JOB, wait_for_end
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

BIG = "model.safetensors"
PART = sha256(WEIGHTS) + ".part"
TOKEN = "hf_" + "s3cret" * 5
SECOND = JOB + "second"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's caches or tokens, nor waits long between tries."""
    for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING", "TORCH_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(fetching, "PAUSES", (0.0,) * 3)
    return tmp_path / "home"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


FETCH, UNPIN = "prefetch tiny", "rm tiny --unpin"


def refusal(root: Path, *wanted: dict[str, Any], name: str = JOB, remedy: str = FETCH) -> str:
    """What bringing models fails with, as one that cannot be had."""
    with pytest.raises(RunnerError) as caught:
        provide(root, *wanted, name=name)
    assert caught.value.kind == "no_model"
    assert str(caught.value).endswith(f"; install with: offload models {remedy}")
    return str(caught.value)


def half(root: Path, content: bytes = WEIGHTS[:150_000]) -> None:
    """Leave a part of the weights, as a runner does that was killed."""
    (root / "models").mkdir()
    (root / "models" / PART).write_bytes(content)


class TestTransfers:
    def test_go_on_where_they_broke_off(self, root: Path, hub: Hub) -> None:
        hub.troubles[BIG] = Trouble(cut=100_000, times=2)
        assert contents(provide(root, published(hub))) == FILES
        assert [one.first for one in hub.gets(BIG)] == [0, 100_000, 200_000]

    def test_go_on_where_a_killed_job_left_them(self, root: Path, hub: Hub) -> None:
        half(root)
        assert contents(provide(root, published(hub))) == FILES
        assert [one.first for one in hub.gets(BIG)] == [150_000]
        assert PART not in stored(root)

    @pytest.mark.parametrize("left", [WEIGHTS[:-1] + b"x", WEIGHTS + b"more", b"x" * 1000])
    def test_begin_anew_when_what_was_left_is_damaged(self, root: Path, hub: Hub, left: bytes) -> None:
        half(root, left)
        assert contents(provide(root, published(hub))) == FILES
        assert hub.gets(BIG)[-1].first == 0

    def test_begin_anew_when_a_server_has_no_parts(self, root: Path, hub: Hub) -> None:
        half(root)
        hub.troubles[BIG] = Trouble(whole=True)
        assert contents(provide(root, published(hub))) == FILES
        assert len(hub.gets(BIG)) == 1

    @pytest.mark.parametrize("left", [WEIGHTS, WEIGHTS + b"more"])
    def test_begin_anew_when_there_is_no_more_than_was_left(self, root: Path, hub: Hub, left: bytes) -> None:
        half(root, left)
        wanted = linked(hub.file("w.pt", WEIGHTS), WEIGHTS, sized=False)
        assert contents(provide(root, wanted)) == {"w.pt": WEIGHTS}

    @pytest.mark.parametrize("sized", [True, False])
    def test_that_never_end_are_given_up_and_what_came_is_kept(self, root: Path, hub: Hub, sized: bool) -> None:
        hub.troubles["w.pt"] = Trouble(cut=0)
        half(root)
        said = refusal(root, linked(hub.file("w.pt", WEIGHTS), WEIGHTS, sized))
        assert "w.pt cannot be fetched from 127.0.0.1: the transfer broke off at byte 150000" in said
        assert len(hub.gets("w.pt")) == 1 + len(fetching.PAUSES)
        assert stored(root) == {PART}

    @pytest.mark.parametrize("status", [408, 429, 500, 503])
    def test_wait_for_a_server_in_trouble(self, root: Path, hub: Hub, status: int) -> None:
        hub.troubles[BIG] = Trouble(status=status, times=2)
        assert contents(provide(root, published(hub))) == FILES

    def test_of_unknown_size_are_whole(self, root: Path, hub: Hub) -> None:
        hub.troubles["w.pt"] = Trouble(cut=100_000, times=1)
        wanted = linked(hub.file("w.pt", WEIGHTS), WEIGHTS, sized=False)
        assert contents(provide(root, wanted)) == {"w.pt": WEIGHTS}

    def test_of_nothing_are_done_at_once(self, root: Path, hub: Hub) -> None:
        assert contents(provide(root, published(hub, {"empty.txt": b""}))) == {"empty.txt": b""}

    def test_pass_through_the_proxy_of_the_environment(
        self, root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted = published(hub, {"config.json": b"{}"})
        monkeypatch.setenv("http_proxy", hub.endpoint)
        monkeypatch.setenv("HF_ENDPOINT", "http://hub.invalid")
        assert contents(provide(root, wanted)) == {"config.json": b"{}"}
        assert hub.asked[0].path.startswith("http://hub.invalid/owner/tiny/resolve/")

    def test_tell_how_far_they_are(self, root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(models, "TELL", 0.0)
        said = messages(provide(root, published(hub)))
        assert said[0] == "fetching tiny: 0.4 MB from 127.0.0.1"
        assert any(line.startswith("fetching tiny: 0.4 MB of 0.4 MB, ") and line.endswith("MB/s") for line in said[1:])


class TestContent:
    def test_that_is_not_what_was_pinned_is_refused(self, root: Path, hub: Hub) -> None:
        hub.troubles[BIG] = Trouble(spoil=True)
        said = refusal(root, published(hub), remedy=UNPIN)
        assert f"{BIG} cannot be fetched from 127.0.0.1: its sha256 is" in said
        assert stored(root) == {sha256(content) for path, content in FILES.items() if path != BIG}
        assert events(root / "jobs" / JOB, "lacks")[0]["models"][0]["files"] == [sha256(WEIGHTS)]

    def test_that_was_spoilt_once_is_fetched_again_by_the_next_job(self, root: Path, hub: Hub) -> None:
        hub.troubles[BIG] = Trouble(spoil=True, times=1)
        wanted = published(hub)
        refusal(root, wanted, remedy=UNPIN)
        assert contents(provide(root, wanted, name=SECOND)) == FILES

    @pytest.mark.parametrize("offered", [b"<html>not found</html>", WEIGHTS + b"more"])
    def test_of_another_size_is_refused_before_it_comes(self, root: Path, hub: Hub, offered: bytes) -> None:
        wanted = linked(hub.file("w.pt", offered), WEIGHTS)
        said = refusal(root, wanted, remedy=UNPIN)
        assert f"is of another size: {len(offered)} bytes, not {len(WEIGHTS)}" in said
        assert (stored(root), len(hub.gets("w.pt"))) == (set(), 1)


class TestRefusals:
    @pytest.mark.parametrize("token", ["", "hf_somebody"])
    def test_a_gated_model_s_page_and_variable_are_named(
        self, root: Path, hub: Hub, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", token)
        said = refusal(root, published(hub, gated=True))
        assert f"accept the conditions at {hub.endpoint}/{NAME}, and set HF_TOKEN" in said
        assert len(hub.asked) == 1

    def test_a_password_in_the_hub_s_address_is_neither_used_nor_told(
        self, root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted = published(hub, gated=True)
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint.replace("://", "://me:SECRET@"))
        said = refusal(root, wanted)
        assert ("SECRET" in said, hub.endpoint in said) == (False, True)

    def test_unknown_repository(self, root: Path, hub: Hub) -> None:
        assert f"there is no repository at {hub.endpoint}/{NAME}, or it is private" in refusal(root, model("0" * 40))

    def test_unknown_revision(self, root: Path, hub: Hub) -> None:
        published(hub)
        assert f"{hub.endpoint}/{NAME} has no revision {'0' * 40}" in refusal(root, model("0" * 40))

    def test_unknown_file(self, root: Path, hub: Hub) -> None:
        wanted = published(hub, {"config.json": b"{}"})
        said = refusal(root, {**model(wanted["revision"], {"other.json": b"{}"})})
        assert f"{hub.endpoint}/{NAME} has no other.json in revision {wanted['revision']}" in said

    @pytest.mark.parametrize("status", [403, 404, 451])
    def test_a_server_s_no_is_told(self, root: Path, hub: Hub, status: int) -> None:
        hub.troubles["w.pt"] = Trouble(status=status)
        said = refusal(root, linked(hub.file("w.pt", WEIGHTS), WEIGHTS))
        assert f"127.0.0.1 answers {status} for w.pt" in said
        assert len(hub.gets("w.pt")) == 1

    def test_a_server_that_is_not_there_is_asked_no_more(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
        asked = []
        monkeypatch.setattr(fetching, "fetch", counted(fetching.fetch, asked))
        with pytest.raises(RunnerError, match=r"127\.0\.0\.1 cannot be reached: Connection refused") as caught:
            provide(root, model("0" * 40), model("1" * 40, role="other"))
        assert (caught.value.kind, len(asked)) == ("no_model", 1)
        assert stored(root) == set()

    def test_the_rest_of_a_job_s_models_is_fetched_all_the_same(self, root: Path, hub: Hub) -> None:
        wanted = {**linked(hub.file("w.pt", WEIGHTS), WEIGHTS), "role": "other"}
        refusal(root, model("0" * 40, {"x.json": b"x"}), wanted)
        assert stored(root) == {sha256(WEIGHTS)}


class TestTokens:
    @pytest.mark.parametrize("place", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "home"])
    def test_open_what_is_gated(
        self, root: Path, hub: Hub, home: Path, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.members.add(TOKEN)
        if place.endswith("TOKEN"):
            monkeypatch.setenv(place, TOKEN)
        else:
            path = home / {"HF_TOKEN_PATH": "t", "HF_HOME": "h/token", "home": ".cache/huggingface/token"}[place]
            path.parent.mkdir(parents=True)
            path.write_text(TOKEN + "\n")
            monkeypatch.setenv(place, str(path if place == "HF_TOKEN_PATH" else path.parent))
        assert contents(provide(root, published(hub, gated=True))) == FILES

    def test_never_reach_another_server(self, root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        hub.members.add(TOKEN)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        provide(root, published(hub, gated=True))
        told = {(one.server, one.headers.get("authorization")) for one in hub.asked}
        assert told == {("hub", f"Bearer {TOKEN}"), ("store", None)}

    def test_are_not_for_files_outside_the_hub(self, root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        provide(root, linked(hub.file("w.pt", WEIGHTS), WEIGHTS))
        assert [one.headers.get("authorization") for one in hub.asked] == [None]

    @pytest.mark.parametrize("secrets", [True, False])
    def test_are_not_in_anything_that_a_job_leaves_or_sees(
        self, root: Path, hub: Hub, secrets: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hub.members.add(TOKEN)
        if not secrets:
            monkeypatch.setenv("HF_TOKEN", TOKEN)
        folder = begin(root, published(hub, gated=True), **({"secrets": {"HF_TOKEN": TOKEN}} if secrets else {}))
        seen = finished(folder)
        assert len(seen["files"]) == len(FILES)
        assert "HF_TOKEN" not in seen["environment"]
        written = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
        assert not [content for content in written if TOKEN.encode() in content]

    def test_that_are_none_are_not_quoted(self, root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_two\nlines")
        assert "lines" not in refusal(root, published(hub, gated=True))


class TestTwoJobs:
    def test_fetch_once(self, root: Path, hub: Hub) -> None:
        held = hub.troubles[BIG] = Trouble(hold=threading.Event(), times=1)
        wanted = published(hub)
        first = begin(root, wanted)
        assert held.held.wait(60)
        second = begin(root, wanted, name=SECOND)
        wait_for(second / "events.jsonl", "another job is fetching tiny")
        assert held.hold
        held.hold.set()
        assert finished(first)["files"] == finished(second)["files"]
        assert len(hub.gets(BIG)) == 1

    def test_the_second_goes_on_when_the_first_is_killed(self, root: Path, hub: Hub) -> None:
        held = hub.troubles[BIG] = Trouble(hold=threading.Event(), times=1)
        wanted = published(hub)
        first = begin(root, wanted)
        assert held.held.wait(60)
        second = begin(root, wanted, name=SECOND)
        wait_for(second / "events.jsonl", "another job is fetching tiny")
        wait_until_some(root)
        kill_supervisor(first)
        assert len(finished(second)["files"]) == len(FILES)
        again = hub.gets(BIG)[-1].first
        assert 0 < again < len(WEIGHTS)

    def test_one_that_waits_can_be_cancelled(self, root: Path, hub: Hub) -> None:
        part = store.claim(root, sha256(WEIGHTS))
        assert part
        with part:
            folder = begin(root, published(hub))
            wait_for(folder / "events.jsonl", "another job is fetching tiny")
            verb(root, "cancel", {"job": JOB, "grace": 0})
            assert (state.last_word(folder) or {})["cancelled"]

    def test_what_came_the_moment_before_is_not_fetched_again(
        self, root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wanted = linked(hub.file("w.pt", WEIGHTS), WEIGHTS)
        claim = store.claim

        def late(*place: Any) -> Any:
            monkeypatch.setattr(store, "claim", claim)
            provide(root, wanted, name=SECOND)
            return claim(*place)

        monkeypatch.setattr(store, "claim", late)
        assert contents(provide(root, wanted)) == {"w.pt": WEIGHTS}
        assert (len(hub.gets("w.pt")), stored(root)) == (1, {sha256(WEIGHTS)})


class TestEndings:
    def test_a_killed_job_s_bytes_count(self, root: Path, hub: Hub) -> None:
        held = hub.troubles[BIG] = Trouble(hold=threading.Event(), times=1)
        wanted = published(hub)
        folder = begin(root, wanted)
        assert held.held.wait(60)
        wait_until_some(root)
        kill_supervisor(folder)
        came = (root / "models" / PART).stat().st_size
        assert finished(begin(root, wanted, name=SECOND))["files"]
        assert [one.first for one in hub.gets(BIG)] == [0, came]

    def test_a_cancelled_job_leaves_what_came_and_nothing_that_runs(self, root: Path, hub: Hub) -> None:
        held = hub.troubles[BIG] = Trouble(hold=threading.Event(), times=1)
        folder = begin(root, published(hub))
        assert held.held.wait(60)
        wait_until_some(root)
        verb(root, "cancel", {"job": JOB, "grace": 0})
        assert (state.last_word(folder) or {})["cancelled"]
        assert (processes.find(JOB), events(folder, "seen")) == (set(), [])
        assert PART in stored(root)

    def test_a_job_cancelled_between_two_chunks_stops(self, root: Path, hub: Hub) -> None:
        held = hub.troubles[BIG] = Trouble(hold=threading.Event(), times=1)
        caught: list[RunnerError] = []
        bringing = threading.Thread(target=lambda: caught.append(failure(root, published(hub))))
        bringing.start()
        assert held.held.wait(60)
        (root / "jobs" / JOB / "wanted").unlink()
        assert held.hold
        held.hold.set()
        bringing.join()
        assert "cancelled while its models were being fetched" in str(caught[0])

    def test_a_disk_without_room_is_seen_before_a_byte_comes(self, root: Path, hub: Hub) -> None:
        with tmpfs(root.parent) as small:
            wanted = linked(hub.file("w.pt", WEIGHTS * 20), WEIGHTS * 20)
            with pytest.raises(RunnerError, match=r"tiny needs 8\.0 MB more, and \d\.\d MB are free") as caught:
                provide(small, wanted)
            assert (caught.value.kind, hub.asked, stored(small)) == ("no_space", [], set())

    def test_a_disk_that_fills_is_told_as_such(self, root: Path, hub: Hub) -> None:
        with tmpfs(root.parent) as small:
            wanted = linked(hub.file("w.pt", WEIGHTS * 20), WEIGHTS * 20, sized=False)
            with pytest.raises(OSError, match="No space left") as caught:
                provide(small, wanted)
            assert layout.describe(caught.value)["kind"] == "no_space"
            assert {path.suffix for path in (small / "models").iterdir()} <= {".part"}

    def test_nothing_has_its_name_before_it_is_on_disk(
        self, root: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(OSError, match="Input/output"):
            provide(root, linked(hub.file("w.pt", WEIGHTS), WEIGHTS))
        assert stored(root) == {PART}


def counted(fetch: Any, calls: list[str]) -> Any:
    """That function, with its addresses written down."""

    def call(url: str, *rest: Any) -> Any:
        calls.append(url)
        return fetch(url, *rest)

    return call


def failure(root: Path, wanted: dict[str, Any]) -> RunnerError:
    """The error that bringing a model ends with."""
    with pytest.raises(RunnerError) as caught:
        provide(root, wanted)
    return caught.value


def kill_supervisor(folder: Path) -> None:
    """End a job's supervisor as a power cut would."""
    os.kill(json.loads((folder / "status.json").read_text())["pid"], signal.SIGKILL)
    wait_for_end(folder)


def wait_until_some(root: Path) -> None:
    """Return once some of the weights are on disk."""
    while not store.arrived(root, sha256(WEIGHTS)):
        time.sleep(0.02)
