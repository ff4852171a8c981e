"""`offload models` as it is typed, and what two models are made of."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from offload.main import main
from tests.hub import sha256
from tests.services.typed import Said

BLIP = "Salesforce/blip-image-captioning-base"
FILES = {"config.json": b"{}", "model.safetensors": b"weights of blip" * 20_000, "README.md": b"read me"}
OTHER = {"config.json": b"{}", "model.safetensors": b"other weights" * 20_000}


def models(here: Path, *words: str, **env: str) -> Said:
    """Type `offload models WORDS...`, in this process: what is tried here takes many short commands."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with (
        contextlib.chdir(here),
        patch.dict(os.environ, env),
        patch.object(sys, "argv", ["offload", "models", *words]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch("services.base.command.leave", sys.exit),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return Said(int(ended.value.code or 0), out.buffer.getvalue(), err.buffer.getvalue().decode())


def row(here: Path, name: str, *words: str) -> dict[str, object]:
    (found,) = [one for one in models(here, "ls", "--json", *words).document if one["name"] == name]
    return found


def stored(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if len(path.name) == 64} if root.is_dir() else set()


def hashes(files: dict[str, bytes]) -> set[str]:
    return {sha256(content) for path, content in files.items() if path != "README.md"}
