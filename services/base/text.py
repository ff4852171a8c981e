"""Text for people: nothing in it can drive a terminal, and its commands can be typed again."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import unicodedata
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories that a terminal obeys or a reader cannot see: controls, formats, surrogates, separators."""

JOINERS = "\u200c\u200d"
"""Formats that belong to ordinary words and emoji."""


def plain(text: object) -> str:
    """`text` on one line, with escapes for what a terminal would obey and for bytes that are no text."""
    return "".join(_escaped(char) if _unseen(char) else char for char in str(text))


def _unseen(char: str) -> bool:
    return unicodedata.category(char) in UNSEEN and char not in JOINERS


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file name that is not UTF-8 (PEP 383)
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def near(path: Path) -> str:
    """`path` for people: from here where it lies below, else in full."""
    here = Path.cwd()
    return plain(path.relative_to(here) if here in path.parents else path)


def shell(words: Iterable[str]) -> str:
    """A command for any POSIX shell, as `shlex.join`, except that unseen characters and bytes are spelled out."""
    return " ".join(map(_quoted, words))


def anywhere(folder: Path | None, command: Iterable[str]) -> str:
    """A command that was typed in `folder`, to be typed again from anywhere."""
    there = f"{shell(['cd', str(folder)])} && " if folder else ""
    return f"{there}{shell(command)}"


def _quoted(word: str) -> str:
    if not any(char != "\n" and _unseen(char) for char in word):
        return shlex.quote(word)
    parts = groupby(word, key=lambda char: char != "\n" and _unseen(char))
    return "".join(_printf("".join(part)) if unseen else shlex.quote("".join(part)) for unseen, part in parts)


def _printf(text: str) -> str:
    return "\"$(printf '" + "".join(f"\\{byte:03o}" for byte in os.fsencode(text)) + "')\""


def program(path: str) -> str:
    """How to name a program that was started as `path`: by its name alone where that finds it."""
    name = Path(path).name
    return name if shutil.which(name) == path else path


def typed(command: str) -> str:
    """An `offload` command, or advice that begins with one, as it can be typed here."""
    bare = command.startswith("offload ") and shutil.which("offload") is None
    return f"{program(sys.executable)} -m {command}" if bare else command


def complain(message: object, hint: str = "") -> None:
    """Tell on stderr what failed, and the next command to type."""
    hint = typed(hint)
    print(f"error: {plain(message)}" + (f"\n  {plain(hint)}" if hint else ""), file=sys.stderr, flush=True)
