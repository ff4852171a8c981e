"""Runs on the target, handed over as text: writes and reads parts of files in the folder it is started in.

Its first line is its first argument, then its folder and its interpreter as JSON. Then, until its input ends, it is
asked in a line each, and answers with one:

    put LENGTH PATH          and the bytes     0, when all are in PATH; its folders are made
    get OFFSET LENGTH PATH                     SIZE, and the bytes; fewer than LENGTH where the file ends

or the name of the error, as in ENOENT, and no bytes. Standard library only, Python >= 3.8.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Iterator  # noqa: UP035 - Python 3.8

RECEIVE_BYTES = 64 * 1024


def main() -> None:
    """Serve."""
    os.umask(0o077)
    folder = Path.cwd()
    answer(sys.argv[1] + json.dumps([str(folder), sys.executable]))
    for line in sys.stdin.buffer:
        verb, *numbers, path = line.decode().split()
        if verb == "put":
            put(folder / path, received(int(numbers[0])))
        else:
            get(folder / path, int(numbers[0]), int(numbers[1]))


def answer(line: str, data: bytes = b"") -> None:
    """Say a line, and some bytes."""
    sys.stdout.buffer.write(line.encode() + b"\n")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def name(error: OSError) -> str:
    """Name an error in a way that means the same on every system."""
    return errno.errorcode.get(error.errno or 0, "EIO")


def received(left: int) -> Iterator[bytes]:
    """Take what is sent along, a piece at a time. Where it ends too soon, all ends."""
    while left:
        piece = sys.stdin.buffer.read(min(left, RECEIVE_BYTES))
        if not piece:
            sys.exit()
        left -= len(piece)
        yield piece


def put(path: Path, pieces: Iterator[bytes]) -> None:
    """Write a file."""
    said = "0"
    try:
        write(path, pieces)
    except OSError as error:
        said = name(error)
    for _ in pieces:
        pass  # what cannot be written comes all the same, and the next request after it
    answer(said)


def write(path: Path, pieces: Iterator[bytes]) -> None:
    """Write through a temporary name: whole or not at all."""
    draft = path.with_name(path.name + "." + os.urandom(4).hex() + ".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with draft.open("xb") as file:
            file.writelines(pieces)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def get(path: Path, offset: int, length: int) -> None:
    """Read a range of a file."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data = file.read(length)
    except OSError as error:
        answer(name(error))
    else:
        answer(str(len(data)), data)


if __name__ == "__main__":
    main()
