"""A target's options, as its user wrote them: what more than one kind of target reads in the same way."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

from executors.base import Refused

CONFIGURATION = "configuration"
"""The step that comes before all steps of connecting: reading what the user wrote."""


def wrong(name: str, what: str) -> Refused:
    """Say what makes no sense in the options of the target called `name`."""
    return Refused(f"{name}: {what}", step=CONFIGURATION)


def at_home(path: str | Path) -> Path:
    """A path with `~` and `~user` as those homes. One of nobody stays as it is written, as it does in a shell."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path's own raises RuntimeError for it


def seconds(name: str, options: Mapping[str, str], key: str, usual: float) -> float:
    """Read a number of seconds above 0. Raises Refused when it is none."""
    try:
        found = float(options.get(key, usual))
    except ValueError:
        found = math.nan
    if not 0 < found < math.inf:
        raise wrong(name, f"{key} is a number of seconds above 0, not {options[key]!r}")
    return found
