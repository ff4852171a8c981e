"""An interpreter that is on the target before us, with packages in it: a virtual environment that we fill by hand."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

TORCH, RANGE = "2.5.1+cu121", "torch>=2.4,<3"
VERSION_PY = f"from typing import Optional\n__version__ = '{TORCH}'\ndebug = False\ncuda: Optional[str] = '12.1'\n"
WHERE = """
import importlib, importlib.metadata, json, sys
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
def file(name):
    try:
        return importlib.import_module(name).__file__
    except ImportError:
        return None
print(json.dumps([[version(name), file(name)] for name in sys.argv[1:]]))
"""


class There:
    """The interpreter `python`, whose packages lie in `site`."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.bin = folder / "bin"
        self.python = next(self.bin.glob("python3.*"))
        self.site = next(folder.glob("lib/python3*/site-packages"))

    def install(self, name: str, version: str, *needs: str, files: Mapping[str, str] | None = None) -> None:
        """Install a package as pip would: its files, and a list of them with their hashes."""
        about = f"{name}-{version}.dist-info"
        needed = "".join(f"Requires-Dist: {need}\n" for need in needs)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}"
        content = {**(files or {f"{name}.py": ""}), f"{about}/METADATA": metadata, f"{about}/INSTALLER": "pip\n"}
        for path, text in content.items():
            (self.site / path).parent.mkdir(parents=True, exist_ok=True)
            (self.site / path).write_text(text)
        lines = [f"{path},sha256={hashlib.sha256(text.encode()).hexdigest()},\n" for path, text in content.items()]
        (self.site / about / "RECORD").write_text("".join([*lines, f"{about}/RECORD,,\n", "../../../bin/it,,\n"]))

    def install_torch(self, version: str = TORCH, *needs: str) -> None:
        """Install what passes for torch."""
        self.install("torch", version, *needs, files={"torch/__init__.py": "", "torch/version.py": VERSION_PY})

    def everything(self) -> dict[str, tuple[int, int]]:
        """Every file of it, with size and time: equal before and after what changes nothing."""
        found = sorted(self.bin.parent.rglob("*"))
        return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in found}


def seen(python: str, *names: str) -> list[tuple[str | None, str | None]]:
    """Of each name, the version and the file of the module that a script sees."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([python, "-c", WHERE, *names], check=True, capture_output=True, env=environment, cwd="/")
    return [(version, file) for version, file in json.loads(done.stdout)]
