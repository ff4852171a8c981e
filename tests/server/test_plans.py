"""A plan comes before the upload, and is better after it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker import settings
from broker.broker import Broker
from tests.media import clip
from tests.server.asking import folders, http, upload, wish
from tests.server.serving import Serving

__all__ = ["http"]


@pytest.fixture(autouse=True)
def near(offload_dirs: Path) -> None:
    """A target beside this machine that shares no files with it."""
    target = f'[near]\nurl = "local://{offload_dirs}/near"\nshare = "no"\n'
    (offload_dirs / "config" / "targets.toml").write_text(target)


def plan(http: httpx.Client, *inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    answer = http.post("/v1/plan", json={"service": "stabilize", "inputs": list(inputs), **more})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def test_a_name_and_a_size_will_do(http: httpx.Client, offload_dirs: Path) -> None:
    told = plan(http, {"name": "clip.mp4", "size": 12_000_000}, {"name": "clip.mp4", "size": 3_000_000})
    sends = {one["target"]: one["send_bytes"] for one in told["targets"]}
    assert sends == {"near": 15_000_000, "local": 0}
    assert all(one["state"] == "ready" and one["reason"] for one in told["targets"])
    assert folders(offload_dirs) == []
    with Broker(settings.load()) as broker:
        assert broker.journal.jobs() == []


def test_what_was_uploaded_is_looked_at(http: httpx.Client, tmp_path: Path, offload_dirs: Path) -> None:
    data = clip(tmp_path / "clip.mp4", 0.5).read_bytes()
    sha256 = upload(http, data)
    known = plan(http, {"name": "clip.mp4", "blob": sha256}, on="local")
    yet = plan(http, {"name": "clip.mp4", "size": len(data), "blob": "0" * 64}, on="local")
    both = plan(http, {"name": "clip.mp4", "size": len(data), "blob": sha256}, on="local")
    assert known["targets"][0]["seconds"] == both["targets"][0]["seconds"] != yet["targets"][0]["seconds"]
    assert folders(offload_dirs) == []


def test_the_plan_is_the_command_lines(http: httpx.Client, tmp_path: Path) -> None:
    from tests.services.typed import stabilize

    typed = stabilize(tmp_path, clip(tmp_path / "clip.mp4", 0.5), "--dry-run", "--json").document["plan"]
    told = plan(http, {"name": "clip.mp4", "blob": upload(http, (tmp_path / "clip.mp4").read_bytes())})["targets"]
    assert [one["target"] for one in told] == [one["target"] for one in typed]
    assert [one["send_bytes"] for one in told] == [one["send_bytes"] for one in typed]
    assert [one["seconds"] for one in told] == pytest.approx([one["seconds"] for one in typed], rel=0.2)


def test_a_plan_refuses_what_the_job_would_be_refused_for(http: httpx.Client, offload_dirs: Path) -> None:
    for sent, status in (
        (wish("0" * 64), 409),
        (wish(upload(http), on="nowhere"), 422),
        (wish(upload(http), params={"crf": 99}), 422),
        (wish(upload(http), spread=True, fallback=False), 422),
        (wish(upload(http)) | {"inputs": [{"path": "/etc/passwd"}]}, 403),
        (wish(upload(http)) | {"inputs": [{"name": "x", "size": -1}]}, 422),
        (wish(upload(http)) | {"inputs": [{"name": "x", "size": 2**60}]}, 422),
    ):
        answer = http.post("/v1/plan", json=sent)
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), sent
    assert folders(offload_dirs) == []


def test_what_the_cache_would_answer_is_told_as_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.services.typed import stabilize

    monkeypatch.setenv("OFFLOAD_RESULT_BYTES", str(10**8))
    data = clip(tmp_path / "clip.mp4", 0.5).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    yet = {"name": "a.mp4", "size": len(data), "blob": sha256}
    with Serving(tmp_path) as serving, serving.http() as http:
        assert plan(http, yet)["cached"] == []
        assert stabilize(tmp_path, "clip.mp4", "--on", "local").code == 0
        typed = stabilize(tmp_path, "clip.mp4", "-o", "again.mp4", "--dry-run", "--json").document["cached"]
        assert typed == [str(tmp_path / "clip.mp4")]
        others = {"name": "a.mp4", "size": len(data)}, yet | {"blob": "0" * 64}, yet | {"name": "a.mov"}
        assert plan(http, yet, *others)["cached"] == [0]
        upload(http, data)
        there = {"name": "there.mp4", "blob": sha256}
        assert plan(http, others[0], there, yet)["cached"] == [1, 2]
        assert plan(http, there, cache=False)["cached"] == plan(http, there, params={"crf": 30})["cached"] == []
        with serving.client() as client:
            assert client.plan("stabilize", [tmp_path / "clip.mp4"]).cached == [0]


def test_more_than_there_is_room_for_is_planned_all_the_same(http: httpx.Client) -> None:
    assert plan(http, {"name": "clip.mp4", "size": 2**53})["targets"]
