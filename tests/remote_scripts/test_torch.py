"""torch is set up so that results repeat, and a torchvision that was built for another torch stops nobody."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from .captioned import broken_torchvision, inside

READY = """
import json
import _torch
from _job import ItemError

told = {"device": _torch.ready(2, 0)}
import torch

told["threads"] = torch.get_num_threads()
told["tf32"] = [torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32]
told["grad"] = torch.is_grad_enabled()
first = torch.rand(3).tolist()
_torch.ready(1, 0)
told["repeats"] = first == torch.rand(3).tolist()
told["versions"] = _torch.versions("cpu")
told["spare"] = [_torch._spare(most) for most in (1, 1000)]
torch.cuda.is_available = lambda: True
told["eased"] = [_torch.ready(1, ease) for ease in (0, 1, 2, 3)]
told["deterministic"] = torch.are_deterministic_algorithms_enabled()


def ending(problem):
    try:
        with _torch.needing("caption"):
            problem()
    except Exception as error:
        return [type(error).__name__, str(error)]


def out_of_memory():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def mistake():
    raise RuntimeError("shapes differ")


told["no memory here"] = ending(lambda: torch.empty(2**50))
told["no memory on the GPU"] = ending(out_of_memory)
told["mistake"] = ending(mistake)
told["absent"] = ending(lambda: __import__("a_package_that_is_not"))
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> Any:
    return inside(READY)


def test_the_same_bits_come_out_again(told: Any) -> None:
    assert told["tf32"] == [False, False]
    assert told["deterministic"] and told["repeats"] and not told["grad"]


def test_threads_are_those_asked_for_and_one_core_stays_free(told: Any) -> None:
    assert told["threads"] == 2
    assert told["spare"] == [1, max(1, len(os.sched_getaffinity(0)) - 1)]


def test_the_receipt_is_told_what_it_ran_with(told: Any) -> None:
    assert told["versions"]["device"] == told["device"] == "cpu"
    assert {"torch", "python", "platform", "threads"} <= told["versions"].keys()
    assert "torchvision" not in told["versions"], "it was not imported"


def test_a_job_that_was_eased_twice_does_without_the_gpu(told: Any) -> None:
    assert told["eased"] == ["cuda", "cuda", "cpu", "cpu"]


@pytest.mark.parametrize("where", ["here", "on the GPU"])
def test_memory_that_ran_out_is_told_as_that(told: Any, where: str) -> None:
    kind, text = told[f"no memory {where}"]
    assert kind == "MemoryError" and "alloc" in text


def test_a_mistake_is_no_lack_of_memory(told: Any) -> None:
    assert told["mistake"] == ["RuntimeError", "shapes differ"]


def test_a_package_that_is_not_there_is_named_with_what_to_type(told: Any) -> None:
    kind, text = told["absent"]
    assert kind == "Missing"
    assert "a_package_that_is_not" in text and "pip install 'offload-broker[caption]'" in text


MENDED = """
import json
import _torch

told = [_torch.mend_torchvision(), _torch.mend_torchvision()]
try:
    import torchvision
    told.append(torchvision.__version__)
except ImportError:
    told.append(None)
from transformers.utils import is_torchvision_available

print(json.dumps([*told, is_torchvision_available()]))
"""
OTHERS_TORCH = """
import torch

for name in ("nms", "qnms"):
    torch.library.register_fake(f"torchvision::{name}")(lambda dets, scores, iou_threshold: dets)
__version__ = "1.0"
"""


@pytest.mark.parametrize(
    ("source", "told"),
    [
        pytest.param(OTHERS_TORCH, [True, True, "1.0", True], id="built for another torch"),
        pytest.param("raise OSError('libcudart.so.13')", [False, False, None, False], id="broken otherwise"),
        pytest.param("__version__ = '2.0'", [True, True, "2.0", True], id="sound"),
    ],
)
def test_torchvision_is_mended_or_left_out(source: str, told: Any, tmp_path: Path) -> None:
    assert inside(MENDED, env=broken_torchvision(tmp_path, source)) == told


GENUINE = """
import _torch

mended = _torch.mend_torchvision()
import timm, open_clip
from torchvision.transforms import v2
from transformers import BlipForConditionalGeneration, CLIPModel

print("true" if mended else "false")
"""


def test_what_imports_torchvision_can_be_imported_beside_the_one_that_is_here() -> None:
    assert inside(GENUINE) is True
