"""Imports go one way, and a stranger can add a service or an executor without editing what is there."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = ("offload", "server", "services", "broker", "executors")


def imported(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"no Python files in {folder}: this test looks at nothing"
    return found


@pytest.mark.parametrize("layer", LAYERS)
def test_no_layer_imports_one_above_it(layer: str) -> None:
    above = set(LAYERS[: LAYERS.index(layer)])
    for path in files(layer):
        assert not imported(path) & above, f"{path} reaches up"


@pytest.mark.parametrize("layer", LAYERS)
def test_remote_scripts_are_data_to_everything_else(layer: str) -> None:
    for path in files(layer):
        assert "remote_scripts" not in imported(path)


def test_remote_scripts_import_the_standard_library_their_header_and_their_neighbours() -> None:
    folder = ROOT / "remote_scripts"
    neighbours = {path.stem for path in folder.glob("*.py")} | {"_runner"}
    pictures, learning = (
        {"av", "ffmpeg", "imageio_ffmpeg", "cv2", "matplotlib", "numpy", "PIL"},
        {"torch", "torchvision"},
    )
    declared = (
        pictures
        | learning
        | {"transformers", "open_clip", "whisper", "faster_whisper", "ctranslate2", "safetensors", "spandrel"}
    )
    for path in files("remote_scripts"):
        allowed = set(sys.stdlib_module_names) | neighbours | (set() if "_runner" in path.parts else declared)
        assert imported(path) <= allowed, f"{path} imports {imported(path) - allowed}"


def test_the_runner_imports_nothing_but_the_standard_library() -> None:
    for path in [ROOT / "remote_scripts/runner.py", *files("remote_scripts/_runner")]:
        assert imported(path) <= set(sys.stdlib_module_names) | {"_runner"}


@pytest.mark.parametrize(
    ("word", "only"),
    [
        ("import sqlite3", {"broker/database.py"}),
        ("from tenacity", {"broker/policy.py"}),
        (r"os\.environ", {"broker/settings.py"}),
        (r"os\.link", {"broker/publication.py", "broker/staging.py"}),
    ],
)
def test_some_things_are_done_in_one_place(word: str, only: set[str]) -> None:
    users = {
        path.relative_to(ROOT).as_posix()
        for layer in ("broker", "executors")
        for path in files(layer)
        if re.search(word, path.read_text("utf-8"))
    }
    assert users == only


def test_verbs_of_the_runner_are_spoken_by_the_agent_alone() -> None:
    speakers = {path.name for path in files("broker") if "runner.py" in path.read_text("utf-8")}
    assert speakers <= {"agent.py", "scripts.py"}
    assert "agent.py" in speakers


@pytest.mark.parametrize("folder", [*LAYERS, "remote_scripts"])
def test_no_file_outgrows_a_reader(folder: str) -> None:
    long = {path.name: len(path.read_text("utf-8").splitlines()) for path in files(folder)}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}
