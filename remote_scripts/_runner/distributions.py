"""Distributions that an interpreter has, with all they need. Run as a program, this file tells of the one it runs in.

python distributions.py '[["torch"], ["numpy"]]'    torch and what it needs, less numpy and what only that needs
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

PATIENCE = 60.0
"""Seconds an interpreter may take to tell: it may have to read from a disk that has slept."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_INFO = re.compile(r"^([^/\n,\"]+\.dist-info)/RECORD,", re.MULTILINE)


class Distribution(NamedTuple):
    """One that is installed in the folder `site`. `info` is the folder of its metadata there, `pins` names what it
    needs in one version alone, and `digest` changes with its list of files.
    """

    name: str
    version: str
    site: str
    info: str
    digest: str
    pins: List[str]


def normal(name: str) -> str:
    """A name as all its spellings are compared (PEP 503)."""
    return re.sub("[-_.]+", "-", name).lower()


def at(path: str, names: List[str], others: List[str]) -> List[Distribution]:
    """Tell of `names` and of all they need, less `others`, as the interpreter at `path` has them.

    Nothing, for an interpreter that cannot tell. What has no list of its files, as some systems' packages, is left out.
    """
    import subprocess

    command, nothing = [path, str(Path(__file__).resolve()), json.dumps([names, others])], subprocess.DEVNULL
    try:
        done = subprocess.run(command, stdin=nothing, stdout=subprocess.PIPE, stderr=nothing, timeout=PATIENCE)
        return [Distribution(**told) for told in json.loads(done.stdout)]
    except (OSError, ValueError, TypeError, subprocess.TimeoutExpired):
        return []


def tell(names: List[str], others: List[str]) -> List[Dict[str, Any]]:
    """Tell the same of the interpreter that runs this."""
    found: Dict[str, Optional[Distribution]] = dict.fromkeys(map(normal, others))
    waiting = list(map(normal, names))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name], needed = _look(name)
            waiting += needed
    return [known._asdict() for _, known in sorted(found.items()) if known]


def _look(name: str) -> Tuple[Optional[Distribution], List[str]]:
    import hashlib
    from importlib import metadata

    try:
        installed = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None, []
    record = installed.read_text("RECORD") or ""
    info = _INFO.search(record)
    if info is None or not installed.version:
        return None, []
    needs = dict(_needs(installed.requires or []))
    site, digest = Path(str(installed.locate_file(""))).resolve(), hashlib.sha256(record.encode()).hexdigest()
    pins = sorted(need for need, pinned in needs.items() if pinned)
    return Distribution(name, installed.version, str(site), info.group(1), digest, pins), list(needs)


def _needs(requirements: Iterable[str]) -> Iterator[Tuple[str, bool]]:
    # Conditions are not judged: what one leaves out is not installed there, or does no harm.
    for requirement in requirements:
        wanted, _, condition = requirement.partition(";")
        match = _NAME.match(wanted.strip())
        if match and not re.search(r"\bextra\b", condition):
            yield normal(match.group()), "==" in wanted and "*" not in wanted


if __name__ == "__main__":
    print(json.dumps(tell(*json.loads(sys.argv[1]))))
