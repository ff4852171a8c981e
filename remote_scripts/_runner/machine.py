"""What this machine is and has."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Optional


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
