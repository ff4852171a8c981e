"""Files of a target's state folder: whole or not there, and for our eyes only."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from executors.base import Refused
from executors.colab.address import Address


def write(address: Address, name: str, entries: Mapping[str, object], step: str) -> None:
    """Write a file of ours whole, durably. Raises Refused, of that step, when that cannot be done."""
    draft = address.state / f".{name}.{secrets.token_hex(4)}"
    try:
        own(address.state)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(entries, file)
            file.flush()
            os.fsync(file.fileno())  # a runtime that nobody knows of after a power cut would cost quota for hours
        draft.replace(address.state / name)
    except OSError as error:
        with suppress(OSError):  # it may never have been there
            draft.unlink()
        said = f"{address.name}: nothing can be saved in {address.state}: {error.strerror}"
        raise Refused(said, step=step) from error


def own(folder: Path) -> None:
    """Make a folder that only we can look into. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
