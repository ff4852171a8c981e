"""A pin: what exactly a model is."""

from __future__ import annotations

from dataclasses import dataclass

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

    `name` is what people call it.
    """

    source: str
    name: str
    revision: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all files whose size is known."""
        return sum(file.size or 0 for file in self.files)
