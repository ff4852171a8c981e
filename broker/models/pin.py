"""A pin: what exactly a model is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATH = "path:"
HUB = "hf:"


@dataclass(frozen=True)
class File:
    """One file of a model: its path below the model's folder, and its content. `size` is None where it is not known.

    `url` says where it can be had, for one that is no file of a repository.
    """

    path: str
    sha256: str
    size: int | None = None
    url: str = ""


@dataclass(frozen=True)
class Pin:
    """A model, exactly: its source, the revision of a repository, and its files.

    `name` is what people call it. `paths` says of a `path:` source where its files are: file's path -> absolute path.
    """

    source: str
    name: str
    revision: str
    files: tuple[File, ...]
    paths: Mapping[str, Path] = field(default_factory=dict)

    @property
    def told_source(self) -> str:
        """Its source as a target may hear it: of the user's own files, only that they are that."""
        return PATH if self.source.startswith(PATH) else self.source

    @property
    def digest(self) -> str:
        """One sha256 for all its files: equal for two models that are the same."""
        lines = "".join(f"{file.sha256}  {file.path}\n" for file in sorted(self.files, key=lambda file: file.path))
        return hashlib.sha256(lines.encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files whose size is known."""
        return sum(file.size or 0 for file in self.files)

    def told(self, role: str, shared: bool) -> dict[str, Any]:
        """What a runner is told of it, as the script's `role`; where the user's own files are, if it `shared` them."""
        files = [{"path": one.path, "sha256": one.sha256, "size": one.size, "url": one.url} for one in self.files]
        about = {"role": role, "name": self.name, "source": self.told_source, "revision": self.revision, "files": files}
        paths = {"paths": {name: str(path) for name, path in self.paths.items()}}
        return about | (paths if shared and self.paths else {})
