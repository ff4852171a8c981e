"""What can be asked for is told with all that a form needs, and taken as it was told."""

from __future__ import annotations

import httpx
from jsonschema import Draft202012Validator

import services
from tests.server.asking import http

__all__ = ["http"]


def test_every_service_is_told_with_a_schema_of_its_parameters(http: httpx.Client) -> None:
    told = http.get("/v1/services").json()
    assert [one["name"] for one in told] == services.names()
    for one in told:
        Draft202012Validator.check_schema(one["params"])
        service = services.find(one["name"])
        assert (one["summary"], one["contract"]) == (service.summary, service.contract)
        assert set(one["accepts"]) == service.accepts and tuple(one["makes"]) == service.makes
        defaults = {name: field["default"] for name, field in one["params"]["properties"].items() if "default" in field}
        Draft202012Validator(one["params"]).validate(defaults)
