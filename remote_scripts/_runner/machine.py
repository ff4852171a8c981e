"""What this machine is and has."""

from __future__ import annotations

import operator
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from _runner.layout import RunnerError

_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)\s*([^;\[]*)")
_CLAUSE = re.compile(r"(==|>=|<=|!=|>|<)\s*([0-9]+(?:\.[0-9]+)*)")
_TESTS = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def facts(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Describe the machine; what is not known is null."""
    return {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": "%s-%s" % (platform.system().lower(), platform.machine().lower()),
        "cpus": _cpus(),
        "memory_bytes": _memory(),
        "disk_free_bytes": shutil.disk_usage(str(root)).free,
        "gpu": _gpu(),
        "tools": {name: shutil.which(name) for name in ("ffmpeg", "uv", "nvidia-smi")},
    }


def _cpus() -> Optional[int]:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory() -> Optional[int]:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _gpu() -> Optional[Dict[str, Any]]:
    if not shutil.which("nvidia-smi"):
        return None
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        reply = subprocess.run(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    words = [word.strip() for word in reply.stdout.decode(errors="replace").split("\n")[0].split(",")]
    if reply.returncode != 0 or len(words) != 3:
        return None
    memory = int(words[1]) * 2**20 if words[1].isdigit() else None  # unified memory has no figure
    return {"name": words[0], "memory_bytes": memory, "driver": words[2]}


def prepare(root: Path, request: Dict[str, Any]) -> Dict[str, Any]:
    """Name the interpreter a script with these needs would get, or fail with kind `missing`."""
    return {"python": interpreter(request["environment"])}


def interpreter(environment: Dict[str, Any]) -> str:
    """Return an interpreter that has what `environment` asks: {requires_python, dependencies, install}.

    Raises:
        RunnerError: kind `missing`, with the command that installs what is not there.
    """
    lacking = _lacking_python(environment["requires_python"]) + _lacking_packages(environment["dependencies"])
    if lacking:
        raise RunnerError("missing", "%s; install with: %s" % (", ".join(lacking), environment["install"]))
    return sys.executable


def _lacking_python(requires: str) -> List[str]:
    version = platform.python_version()
    return [] if satisfies(version, requires) else ["Python %s is needed, this is %s" % (requires, version)]


def _lacking_packages(requirements: List[str]) -> List[str]:
    from importlib import metadata

    lacking = []
    for requirement in requirements:
        name, wanted = _split(requirement)
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            lacking.append("%s is not installed" % requirement)
            continue
        if not satisfies(version, wanted):
            lacking.append("%s is needed, %s is installed" % (requirement, version))
    return lacking


def _split(requirement: str) -> Tuple[str, str]:
    match = _REQUIREMENT.fullmatch(requirement)
    if match is None:
        raise ValueError("not a requirement: %r" % requirement)
    return match.group(1), match.group(2)


def satisfies(version: str, specifier: str) -> bool:
    """Whether `version` meets every clause of `specifier` (`>=3.10,<4`). Numeric releases only, as our headers use.

    Raises ValueError for a clause it does not understand, rather than take it for met.
    """
    return all(_meets(version, clause.strip()) for clause in specifier.split(",") if clause.strip())


def _meets(version: str, clause: str) -> bool:
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        raise ValueError("not a version clause this runner understands: %r" % clause)
    found, bound = _aligned(version, match.group(2))
    return bool(_TESTS[match.group(1)](found, bound))


def _aligned(*versions: str) -> List[Tuple[int, ...]]:
    numbers = [[int(n) for n in re.findall(r"\d+", version.split("+")[0])] for version in versions]
    width = max(len(n) for n in numbers)
    return [tuple(n + [0] * (width - len(n))) for n in numbers]
