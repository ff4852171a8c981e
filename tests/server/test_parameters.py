"""The server takes what the command line takes, but for what reads or names a file here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import services
from broker.errors import UsageError
from broker.models import catalogue
from server import parameters
from services.base.options import parse


@pytest.mark.parametrize("name", services.names())
def test_every_field_has_what_a_form_needs(name: str) -> None:
    schema = parameters.schema(services.find(name))
    assert schema["type"] == "object" and schema["additionalProperties"] is False
    for field in schema["properties"].values():
        assert field["description"]
        assert field.get("type") in ("integer", "number", "boolean", "string", "array") or field["anyOf"]
        assert not {"title", "short"} & set(field)
        assert "path" not in json.dumps(field.get("format", ""))


@pytest.mark.parametrize("name", services.names())
def test_the_defaults_are_those_of_the_command_line(name: str) -> None:
    service = services.find(name)
    fields = parameters.schema(service)["properties"]
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    assert parameters.check(service, defaults) == parameters.check(service, {}) == parse(service.params, {})


@pytest.mark.parametrize(
    ("service", "name"),
    [("tag", "vocabulary"), ("tag", "extend"), ("caption", "trust_remote_code"), ("stabilize", "nothing")],
)
def test_what_is_not_offered_is_refused_also_when_it_is_sent(service: str, name: str) -> None:
    found = services.find(service)
    assert name not in parameters.schema(found)["properties"]
    with pytest.raises(UsageError, match=f"{service} takes no '{name}'"):
        parameters.check(found, {name: True})


@pytest.mark.parametrize(
    "name", [name for name in services.names() if "model" in services.find(name).params.model_fields]
)
def test_models_are_those_of_the_catalogue_and_no_others(name: str, tmp_path: Path) -> None:
    service = services.find(name)
    names = parameters.schema(service)["properties"]["model"]["enum"]
    for model in names:
        params = parameters.check(service, {"model": model})
        source = params.models()["model"]
        assert source in [entry.source for entry in catalogue.entries() if entry.service == name]
    (tmp_path / "own.pt").write_bytes(b"")
    for other in (
        f"{tmp_path}/own.pt",
        "owner/name",
        f"{names[0]}@main",
        "https://host/m.pth",
        "",
        "moondream2",
        7,
        ["x"],
    ):
        with pytest.raises(UsageError, match="there is no model"):
            parameters.check(service, {"model": other})


def test_no_model_runs_code_of_its_own() -> None:
    offered = parameters.schema(services.find("caption"))["properties"]["model"]["enum"]
    assert not {entry.name for entry in catalogue.entries() if entry.trust_remote_code} & set(offered)


def test_an_engine_has_its_own_models() -> None:
    transcribe = services.find("transcribe")
    taken = parameters.check(transcribe, {"engine": "faster-whisper", "model": "faster-whisper-tiny"})
    assert taken.models() == parameters.check(transcribe, {"engine": "faster-whisper", "model": "tiny"}).models()
    with pytest.raises(UsageError, match="there is no model 'faster-whisper-tiny'"):
        parameters.check(transcribe, {"model": "faster-whisper-tiny"})


SAID: list[tuple[str, dict[str, Any], str]] = [
    ("stabilize", {"smoothing": 1001}, "smoothing 1001: it takes a whole number, 0 to 1000"),
    ("stabilize", {"smoothing": "30"}, "smoothing '30': it takes a whole number, 0 to 1000"),
    ("stabilize", {"smoothing": True}, "smoothing True: it takes a whole number, 0 to 1000"),
    ("stabilize", {"zoom": {}}, "zoom {}: it takes auto or a number, -50 to 100"),
    ("stabilize", {"fast": 1}, "fast 1: it takes true or false"),
    ("stabilize", {"report": "/etc/x.png"}, "report '/etc/x.png': it takes true or false"),
    ("stabilize", {"preset": "\x1b[2J"}, "preset '\\x1b[2J': it takes ultrafast or superfast"),
    ("stabilize", {"smoothing": 10**400}, "000...: it takes a whole number, 0 to 1000"),
    ("tag", {"fps": float("nan")}, "a parameter is no number: JSON has no infinity, and no NaN"),
    ("transcribe", {"initial_prompt": "\ud800"}, "the parameters are no text that can be read"),
    ("transcribe", {"initial_prompt": "x" * 2001}, "initial_prompt 'xxx"),
    ("transcribe", {"format": "srt"}, "format 'srt': it takes a list"),
    ("transcribe", {"format": []}, "format []: it takes a list, with one entry at least"),
    ("transcribe", {"format": ["exe"]}, "format ['exe']: it takes txt or srt or vtt or tsv or json"),
    ("transcribe", {"format": ["srt,json"]}, "format ['srt,json']: it takes txt or srt or vtt or tsv or json"),
    ("transcribe", {"language": "Germna"}, "language 'Germna': whisper knows no such language; near it: german"),
    ("upscale", {"size": "3x3", "height": 3}, "size and height are both given"),
    ("upscale", {"denoise": 0.5}, "denoise is not for realesrgan-x4plus"),
]


@pytest.mark.parametrize(("service", "given", "said"), SAID)
def test_a_mistake_is_told_as_on_the_command_line_and_named_as_the_field_is(
    service: str, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as error:
        parameters.check(services.find(service), given)
    assert "--" not in f"{error.value} {error.value.hint}" and len(str(error.value)) < 500


def test_null_is_as_not_given_and_a_list_as_its_words_are_typed() -> None:
    transcribe = services.find("transcribe")
    assert parameters.check(transcribe, {"language": None, "format": None}) == parameters.check(transcribe, {})
    assert parameters.check(transcribe, {"format": ["srt", "json"]}) == parse(transcribe.params, {"format": "srt,json"})


def test_a_report_goes_where_the_outputs_go(tmp_path: Path) -> None:
    stabilize = services.find("stabilize")
    asked = parameters.check(stabilize, {"report": True})
    placed = parameters.placed(asked, tmp_path)
    made = stabilize.outputs(tmp_path / "clip.stabilized.mp4", placed)
    assert made["report.png"] == tmp_path / "clip.report.png"
    assert parameters.placed(parameters.check(stabilize, {"report": False}), tmp_path).report is None


def test_commands_in_a_hint_stay_what_they_are() -> None:
    stabilize = services.find("stabilize")
    assert parameters.as_fields("offload targets add --help", stabilize) == "offload targets add --help"
    said = "leave out --offline, or --when remote, or --no-fallback, or --to-sdr"
    assert (
        parameters.as_fields(said, stabilize) == "leave out --offline, or when: remote, or fallback: false, or to_sdr"
    )
