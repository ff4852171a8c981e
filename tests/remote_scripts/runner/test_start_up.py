"""What the runner may ask of a machine that has nothing: Python 3.8, its standard library, and little time."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import vermin

import remote_scripts

FOLDER = Path(remote_scripts.__path__[0])
FILES = [FOLDER / "runner.py", *sorted((FOLDER / "_runner").glob("*.py"))]
HEAVY = {"asyncio", "ctypes", "email", "hashlib", "importlib.metadata", "inspect", "platform", "shutil", "socket"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_needs_no_more_than_python_3_8(path: Path) -> None:
    versions = vermin.visit(path.read_text(), vermin.Config()).minimum_versions()
    assert (versions[1] or (0, 0)) <= (3, 8)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_imports_the_standard_library_and_itself_alone(path: Path) -> None:
    assert set(imported(path)) <= sys.stdlib_module_names | {"_runner"}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize(("verb", "may"), [("events", set()), ("start", {"shutil"}), ("cancel", {"shutil"})])
def test_a_verb_loads_only_what_it_needs(verb: str, may: set[str]) -> None:
    # Every verb is a process of its own, and following a job is one each second.
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "import runner; runner._verb(sys.argv[2]); print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(FOLDER), verb], capture_output=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "_runner.layout" in loaded
    assert loaded & HEAVY <= may
    assert verb != "events" or "subprocess" not in loaded
