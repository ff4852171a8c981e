"""Targets and models as the server tells them: the same as on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker.models import catalogue
from tests.server.serving import Serving
from tests.server.test_serve import typed


def test_targets_are_those_of_the_command_line(serving: Serving, offload_dirs: Path) -> None:
    (offload_dirs / "config/targets.toml").write_text('[box]\nurl = "ssh://nobody@127.0.0.1:1"\n')
    with serving.http() as http:
        told = http.get("/v1/targets").json()
    assert [(one["name"], one["kind"], one["state"], one["reachable"]) for one in told] == [
        ("box", "ssh", "away", False),
        ("local", "local", "up", True),
    ]
    listed = json.loads(typed("targets", "ls", "--json").stdout)
    for one in (*told, *listed):
        del one["disk_free_bytes"], one["reason"]  # they change by themselves
    assert told == listed


def test_a_target_is_tested_step_by_step(serving: Serving) -> None:
    with serving.http() as http:
        told = http.post("/v1/targets/local/test").json()
    assert (told["target"], told["ok"]) == ("local", all(step["ok"] for step in told["steps"]))
    assert [step["name"] for step in told["steps"]][:3] == ["folder", "Python", "disk"]
    typed_steps = [line[6:].partition(":")[0] for line in typed("targets", "test", "local").stdout.splitlines()]
    assert [step["name"] for step in told["steps"]] == typed_steps


def test_the_step_that_fails_says_what_to_type(serving: Serving, offload_dirs: Path) -> None:
    (offload_dirs / "config/targets.toml").write_text('[box]\nurl = "ssh://nobody@127.0.0.1:1"\n')
    with serving.http() as http:
        told = http.post("/v1/targets/box/test").json()
    assert not told["ok"] and [step["ok"] for step in told["steps"]] == [True] * (len(told["steps"]) - 1) + [False]
    assert "127.0.0.1" in told["steps"][-1]["said"]


@pytest.mark.parametrize("name", ["nobody", "%00", "..", "%2e%2e%2flocal", "x" * 201, "%ed%a0%80", "%ff"])
def test_an_unknown_target_is_not_found(serving: Serving, name: str) -> None:
    with serving.http() as http:
        answer = http.post(f"/v1/targets/{name}/test")
    assert answer.status_code in (404, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_models_are_those_of_the_catalogue(serving: Serving) -> None:
    with serving.http() as http:
        told = http.get("/v1/models").json()["data"]
        some = http.get("/v1/models", params={"service": "transcribe"}).json()["data"]
    assert {one["name"] for one in told} == {entry.name for entry in catalogue.entries()}
    assert some == [one for one in told if one["service"] == "transcribe"] != []
    listed = {(row["service"], row["name"]): row for row in json.loads(typed("models", "ls", "--json").stdout)}
    for one in told:
        row = listed[one["service"], one["name"]]
        ours = {"id": row["name"], "object": "model", "here": row["here"] == "yes"}
        assert one == {**{name: row[name] for name in one if name not in ours}, **ours}
