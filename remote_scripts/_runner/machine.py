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


def versions() -> Dict[str, Any]:
    """What a receipt says of the machine: its memory, and its GPU with what drives that. What is not known is left out.

    `cuda` is the newest version that the driver serves.
    """
    gpu = _gpu() or {}
    told = {
        "memory_bytes": _memory(),
        "gpu": gpu.get("name"),
        "gpu_memory_bytes": gpu.get("memory_bytes"),
        "driver": gpu.get("driver"),
        "cuda": _cuda() if gpu else None,
    }
    return {name: value for name, value in told.items() if value is not None}


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
    told = _nvidia_smi("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    words = [word.strip() for word in told.split("\n")[0].split(",")]
    if len(words) != 3:
        return None
    memory = int(words[1]) * 2**20 if words[1].isdigit() else None  # unified memory has no figure
    return {"name": words[0], "memory_bytes": memory, "driver": words[2]}


def _cuda() -> Optional[str]:
    import re

    heading = _nvidia_smi()  # no query tells it
    match = re.search(r"CUDA (?:\w+ )?Version *: *([0-9]+(?:\.[0-9]+)*)", heading)
    return match.group(1) if match else None


def _nvidia_smi(*words: str) -> str:
    # Not there, stuck or in trouble: then nothing is known.
    if not shutil.which("nvidia-smi"):
        return ""
    command = ["nvidia-smi", *words]
    try:
        reply = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if reply.returncode else reply.stdout.decode(errors="replace")
