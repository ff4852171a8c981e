"""The option surface: what is there, what it takes, and what is said to somebody who gets it wrong."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from broker import errors
from services.base.options import parse
from services.stabilize import Stabilize
from tests.services.typed import OFFLOAD, STABILIZE, Said, offload, stabilize, type_

DEFAULTS = {
    "--smoothing": "30",
    "--shakiness": "5",
    "--zoom": "auto",
    "--crf": "18",
    "--preset": "medium",
    "--on": "auto",
}
FLAGS = ("--dry-run", "--json", "-q", "--overwrite", "--skip-existing", "-0", "--no-fallback", "--to-sdr")


@pytest.fixture(scope="module")
def help_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    said = stabilize(tmp_path_factory.mktemp("help"), "--help")
    assert (said.code, said.err) == (0, "")
    return said.out.decode()


def test_help_lists_every_option_with_its_default(help_text: str) -> None:
    assert "INPUT..." in help_text
    told = [" ".join(block.split()) for block in re.split(r"\n  (?=-)", help_text)]
    for option in (*FLAGS, "-o, --output OUT", "--report FILE"):
        assert any(re.match(rf"(-q, |-0, )?{re.escape(option)}\b", block) for block in told), option
    for option, default in DEFAULTS.items():
        assert any(block.startswith(option) and f"[default: {default}]" in block for block in told), option


def test_help_documents_the_exit_codes_there_are(help_text: str) -> None:
    told = {int(code) for code in re.findall(r"(?:^|  )(\d+)  \S", help_text.split("Exit codes:")[1])}
    classes = [found for _, found in inspect.getmembers(errors, inspect.isclass)]
    assert told == {0, errors.PARTLY, *(found.exit_code for found in classes)}


def test_three_ways_to_type_it_are_one_command(here: Path, clip_here: Path) -> None:
    def outcome(said: Said) -> tuple[int, object]:
        document = said.document
        return said.code, [item["outputs"][0]["sha256"] for item in document["items"]]

    first = outcome(stabilize(here, "clip.mp4", "--json"))
    assert first[0] == 0
    assert outcome(offload(here, "stabilize", "clip.mp4", "--json", "--overwrite")) == first


def test_help_is_the_same_both_ways(here: Path, help_text: str) -> None:
    as_verb = offload(here, "stabilize", "--help").out.decode()
    assert as_verb.splitlines()[1:] == help_text.splitlines()[1:]


@pytest.mark.parametrize(
    ("option", "value", "takes"),
    [
        ("--smoothing", "-1", "a whole number, 0 to 1000"),
        ("--shakiness", "11", "a whole number, 1 to 10"),
        ("--crf", "abc", "a whole number, 0 to 51"),
        ("--crf", "1.5", "a whole number, 0 to 51"),
        ("--zoom", "foo", "auto or a number, -50 to 100"),
        ("--zoom", "nan", "auto or a number, -50 to 100"),
        ("--preset", "placebo", "medium"),
        ("--report", "plot.jpg", "must end in .png"),
        ("--report", "plots", "or in / for a folder"),
        ("--report", "plot.png/", "must not end in .png"),
        ("--on", "mars", "local"),
        ("--priority", "1001", "-1000<=x<=1000"),
        ("--priority", "-99999999999999999999", "-1000<=x<=1000"),
        ("--deadline", "99999999999999d", "more than ten years away"),
        ("--deadline", f"{'9' * 400}d", "more than ten years away"),
        ("--deadline", "9999-12-31T23:59", "more than ten years away"),
        ("--deadline", "0001-01-01T00:00", "--deadline"),
        ("--deadline", "tomorrow", "is no time"),
    ],
)
def test_a_wrong_value_names_option_value_and_what_would_do(
    here: Path, clip_here: Path, option: str, value: str, takes: str
) -> None:
    said = stabilize(here, "clip.mp4", f"{option}={value}")
    assert said.code == 2
    assert said.out == b""
    assert value in said.err
    assert takes in said.err
    assert option in said.err or option == "--on"  # which speaks of targets
    assert list(here.iterdir()) == [clip_here]


@pytest.mark.parametrize(
    "values", [{"zoom": "-50"}, {"zoom": "5.5"}, {"zoom": "auto"}, {"crf": "0"}, {"crf": "51"}, {"smoothing": "0"}]
)
def test_values_at_the_edge_are_taken(values: dict[str, str]) -> None:
    assert parse(Stabilize, values)


@pytest.mark.parametrize("command", [STABILIZE, (*OFFLOAD, "stabilize")])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clip.mp4", "--bogus"], "--bogus"),
        (["clip.mp4", "--crf"], "--crf"),
        (["--crf", "18"], "INPUT"),
        (["clip.mp4", "--overwrite", "--skip-existing"], "exclude each other"),
        (["clip.mp4", "--spread", "--no-fallback"], "exclude each other"),
    ],
)
def test_usage_errors_are_one_sentence_and_exit_2(here: Path, command: list[str], words: list[str], said: str) -> None:
    found = type_([*command, *words], here)
    assert (found.code, found.out) == (2, b"")
    assert said in found.err
    assert found.err.startswith("error: ")
    assert len(found.err.splitlines()) <= 2


def test_nothing_typed_shows_the_help(here: Path) -> None:
    said = stabilize(here)
    assert said.code == 2
    assert "INPUT..." in said.err


def test_an_unknown_verb_is_named(here: Path) -> None:
    said = offload(here, "stabilise")
    assert said.code == 2
    assert "stabilise" in said.err


def test_version(here: Path) -> None:
    assert re.fullmatch(rb"offload, version \d+\.\d+\.\d+\S*\n", offload(here, "--version").out)
