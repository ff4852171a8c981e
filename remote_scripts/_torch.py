"""torch, as every script sets it up that runs a model: results repeat, and the machine stays usable.

What decides bits is fixed here: full fp32 (no TF32), deterministic algorithms, one seed. The number of threads does not
change a result of the models here; the device does, by about 1e-4.
"""

from __future__ import annotations

import functools
import importlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from _job import Missing

GPU, CPU = "cuda", "cpu"
NO_GPU = 2  # the `ease` from which on a job does without the GPU: before that, a smaller batch is tried
BROKEN = "operator torchvision::nms does not exist"
"""What importing a torchvision fails with that was built for another torch."""
NO_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def ready(threads: int, ease: int) -> str:
    """Set torch up for inference; returns the device to run on, `cuda` or `cpu`.

    `threads` 0 is all cores but one. `ease` is the job's. Raises ImportError where torch is not installed.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # or cuBLAS does not repeat itself; read once
    import torch

    torch.set_num_threads(threads or _spare(torch.get_num_threads()))
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    if ease >= NO_GPU or not torch.cuda.is_available():
        return CPU  # where all that we use repeats itself; the next line takes more than a second
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, and only shows mistakes
    return GPU


def mend_torchvision() -> bool:
    """Make torchvision importable beside a torch that it was not built for; returns whether it is.

    To be called before anything imports it. It lacks its compiled operators then, which no script here needs. One that
    is broken in any other way is hidden: packages that can do without it then take it for absent.
    """
    problem = _problem()
    if problem == BROKEN:
        _define_operators()
        problem = _problem()
    if problem:
        print(f"torchvision is left out: {problem}", file=sys.stderr)
        hide_torchvision()
    return not problem


def hide_torchvision() -> None:
    """Have packages that can do without torchvision take it for absent: it takes seconds to import."""
    sys.modules["torchvision"] = None  # type: ignore[assignment]


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Have what torch and its like end with told as what it is: for the whole of a script's work on an item.

    An ImportError becomes Missing, with what to type (`extra` names the optional dependencies), and running out of
    memory, in whichever of torch's ways, MemoryError.
    """
    try:
        yield
    except ImportError as error:
        raise Missing(
            f"{error.name or error} cannot be imported where the job runs; type: pip install 'offload-broker[{extra}]'"
        ) from error
    except RuntimeError as error:
        if not wants_memory(error):
            raise
        raise MemoryError(str(error).strip().partition("\n")[0]) from error


def wants_memory(error: Exception) -> bool:
    """Whether memory ran out, on whichever device. torch has an error for that, but raises others as well."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)


def versions(device: str) -> dict[str, str]:
    """What decided the result, for the receipt: torch, and `device` as from `ready`."""
    import torch

    found = {"python": platform.python_version(), "platform": platform.platform(), "torch": torch.__version__}
    if vision := sys.modules.get("torchvision"):
        found["torchvision"] = vision.__version__
    if device == GPU:
        return found | {"device": device, "gpu": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
    return found | {"device": device, "threads": str(torch.get_num_threads())}


def _spare(most: int) -> int:
    # torch's own number knows OMP_NUM_THREADS and real cores, but leaves none for anybody else.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(most, cores - 1))


def _problem() -> str:
    """What importing torchvision fails with; empty when it does not."""
    try:
        importlib.import_module("torchvision")
    except Exception as error:  # noqa: BLE001 - a broken package fails as it pleases
        for name in [name for name in sys.modules if name.startswith("torchvision.")]:
            del sys.modules[name]
        return str(error) or type(error).__name__
    return ""


@functools.cache
def _define_operators() -> Any:
    import torch

    library = torch.library.Library("torchvision", "DEF")  # goes with this object, hence the cache
    for name in ("nms", "qnms"):
        library.define(name + SCHEMA)
    return library
