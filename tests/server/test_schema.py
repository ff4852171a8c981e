"""Every answer is as the API's own description has it, whatever is sent, and nothing that is sent breaks the server.

The description is checked as if it made no room for what it does not name: "any other problem" does not count.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server import examples, problems, schemas
from tests.server.asking import ask, end_all, over, upload, wish
from tests.server.serving import Serving
from tests.services.typed import FAKEWORK, type_

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
STREAMS = ("/v1/events", "/v1/jobs/{job}/events")
ENV = {"OFFLOAD_OFFLINE": "1", "OFFLOAD_LOCAL_JOBS": "1", "OFFLOAD_SERVE_BYTES": "1000000"}
SECONDS = 60.0
"""How long an answer may take on a busy machine, of what is no stream."""

Described = dict[str, Any]

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")


class Known:
    """What is there to be asked about: jobs of every state, and an upload. The queue stands still behind one job."""

    def __init__(self, http: httpx.Client, here: Path) -> None:
        (here / "a.dat").write_bytes(b"some work")
        self.blob = upload(http)
        done = type_([*FAKEWORK, "--json", "--seconds", "0", "a.dat"], here).document["job"]
        failed = ask(http, wish(self.blob)).json()["job"]
        over(http, failed)
        type_([*FAKEWORK, "--detach", "--overwrite", "--seconds", "600", "a.dat"], here)
        waits = ask(http, wish(self.blob, on="local")).json()["job"]
        self.paths = {
            "job": [done, failed, waits],
            "name": ["0-worked.bin", "local", "nowhere"],
            "upload": [f"{self.blob}-{len(b'this is no clip')}"],
            "index": [0, 1],
        }

    def put(self, case: schemathesis.Case, data: st.DataObject) -> None:
        """Have some cases be about what is there."""
        for name in case.path_parameters or {}:
            if name in self.paths and data.draw(st.booleans()):
                case.path_parameters[name] = data.draw(st.sampled_from(self.paths[name]))
        if case.path in ("/v1/jobs", "/v1/plan") and isinstance(case.body, dict) and data.draw(st.booleans()):
            case.body |= {"service": "stabilize", "inputs": [{"blob": self.blob, "name": "clip.mp4"}]}
            case.body |= {"params": {}} if data.draw(st.booleans()) else {}


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder to type in."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


def strict(described: Described) -> Described:
    """The description, without what would make it fit all."""
    for path in described["paths"].values():
        for operation in path.values():
            operation["responses"].pop("default", None)
    return described


def test_the_description_is_whole(serving: Serving) -> None:
    with serving.http() as http:
        described = http.get("/openapi.json").json()
    assert set(described["components"]["securitySchemes"]) == {"token", "cookie"}
    operations = [(path, *found) for path, entry in described["paths"].items() for found in entry.items()]
    assert len({operation["operationId"] for _, _, operation in operations}) == len(operations) > 25
    for path, method, operation in operations:
        assert operation["summary"] and operation["description"] and operation["tags"], path
        assert "security" in operation or (method, path) == ("post", "/v1/session")
        for status, answer in operation["responses"].items():
            assert answer["description"], (path, status)
            for kind in answer.get("content", {}).values():
                assert "example" in kind or _has_example(described, kind["schema"]), (path, status)
            if status.startswith(("4", "5")):
                assert list(answer["content"]) == ["application/problem+json"], (path, status)
                assert answer["content"]["application/problem+json"]["schema"], (path, status)
        for kind in operation.get("requestBody", {}).get("content", {}).values():
            assert _has_example(described, kind["schema"]), path


def _has_example(described: Described, schema: Described) -> bool:
    """A schema's own, that of its entries, or those of its fields; a file needs none."""
    schema = schema.get("items", schema)
    found = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    fields = found.get("properties", {}).values()
    return "format" in found or "examples" in found or any("examples" in field for field in fields)


@pytest.mark.parametrize("name", examples.EXAMPLES)
def test_an_example_is_what_the_server_tells(name: str) -> None:
    """With all its fields, and no others."""
    example = examples.EXAMPLES[name]
    model = getattr(schemas, name)
    assert model.model_validate_json(json.dumps(example), strict=True).model_dump(mode="json") == example


def test_an_example_of_a_problem_is_of_its_status() -> None:
    described = problems.refusals(*examples.PROBLEMS)
    for status in examples.PROBLEMS:
        example = described[status]["content"][problems.KIND]["example"]
        assert schemas.Problem.model_validate(example, strict=True).status == status and example["detail"]


@pytest.mark.parametrize(
    "examples",
    [pytest.param(5, id="some"), pytest.param(200, id="many", marks=[pytest.mark.soak, pytest.mark.timeout(3600)])],
)
def test_every_answer_is_as_it_is_described(
    examples: int, tmp_path: Path, here: Path, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    for name, value in ENV.items():
        monkeypatch.setenv(name, value)
    with Serving(tmp_path) as serving, serving.http() as http:
        known = Known(http, here)
        schema = schemathesis.openapi.from_dict(strict(http.get("/openapi.json").json()))
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) > 25
        for operation in sorted(operations, key=lambda one: one.method == "delete"):
            with subtests.test(operation.label):
                _ask(operation, known, serving, examples)
        assert "Traceback" not in serving.log.read_text()
        assert http.get("/v1/health").status_code == 200
    end_all()


def _ask(operation: schemathesis.APIOperation, known: Known, serving: Serving, examples: int) -> None:
    modes = st.sampled_from(list(schemathesis.GenerationMode))
    cases = modes.flatmap(lambda mode: operation.as_strategy(generation_mode=mode))
    letting_in = {"Authorization": f"Bearer {serving.token}"}

    @settings(
        max_examples=examples, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(cases, st.data())
    def one(case: schemathesis.Case, data: st.DataObject) -> None:
        known.put(case, data)
        if operation.path in STREAMS:
            _listen(case, serving, letting_in)
            return
        answer = case.call(base_url=serving.url, headers=letting_in, timeout=SECONDS)
        case.validate_response(answer, checks=CHECKS)
        if answer.status_code >= 400 and operation.method != "head":
            _check_problem(answer.headers["content-type"][0], answer.content or b"")

    one()


def _listen(case: schemathesis.Case, serving: Serving, letting_in: dict[str, str]) -> None:
    """Only how a stream begins: it has no end."""
    asked = case.as_transport_kwargs(base_url=serving.url, headers=letting_in)
    with requests.request(**asked, stream=True, timeout=SECONDS) as answer:
        kind = answer.headers["Content-Type"]
        if answer.status_code >= 400:
            assert str(answer.status_code) in case.operation.definition.raw["responses"]
            _check_problem(kind, answer.content)
        else:
            assert (answer.status_code, kind.partition(";")[0]) == (200, "text/event-stream")


def _check_problem(kind: str, body: bytes) -> None:
    assert kind.startswith(("application/problem+json", "application/json"))
    schemas.Problem.model_validate_json(body)
