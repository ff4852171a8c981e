"""Models that say in words what a picture shows, each loaded from a folder as its repository has it.

Three kinds: one that takes a picture and nothing else (BLIP, GIT), one that is asked (its repository brings a template
of how one talks to it), and one that comes with code of its own (Moondream), which runs only for who trusts it.

Each word is the likeliest one (greedy), in fp32, one picture at a time: neither luck nor a batch decides a caption.
Pictures are prepared by PIL, whose pixels are the same everywhere; torchvision's are not.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _torch
from _job import ItemError
from PIL import Image

Captioner = Callable[[Image.Image], str]

MOST_TOKENS = 50  # of a caption: of those that BLIP and GIT were trained on, next to none has half as many
GREEDY = {"do_sample": False, "num_beams": 1, "max_new_tokens": MOST_TOKENS}
QUESTION = "Describe this picture in one short sentence."
OWN_SETTINGS = {"temperature": 0, "max_tokens": MOST_TOKENS}


def load(folder: Path, device: str, trusted: bool) -> Captioner:
    """Load the model in `folder`; returns what makes a caption of a picture.

    Raises ItemError for one that cannot be loaded, and for one with code of its own that is not `trusted`; ImportError
    where a package is missing.
    """
    if not (folder / "config.json").is_file():
        raise ItemError("the model has no config.json: it must be a folder such as a repository of the hub, whole")
    try:
        return _load(folder, device, trusted)
    except (ItemError, ImportError):
        raise
    except pickle.UnpicklingError as error:
        raise ItemError("the model's weights were not opened: their file is damaged, or holds code") from error
    except Exception as error:
        if _torch.wants_memory(error):
            raise
        raise ItemError(f"the model cannot be loaded: {_first_line(error)}") from error


def _load(folder: Path, device: str, trusted: bool) -> Captioner:
    talks = _talks(folder)
    if talks or trusted:
        _torch.mend_torchvision()
    else:
        _torch.hide_torchvision()
    _be_quiet()
    if _brings_code(folder):
        return _own(folder, device, trusted)
    return (_asked if talks else _shown)(folder, device)


def _talks(folder: Path) -> bool:
    files = ("tokenizer_config.json", "processor_config.json")
    template = [(folder / name).exists() for name in ("chat_template.jinja", "chat_template.json")]
    return any(template) or any("chat_template" in _json(folder / name) for name in files)


def _brings_code(folder: Path) -> bool:
    from transformers import CONFIG_MAPPING

    config = _json(folder / "config.json")
    return "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING


def _shown(folder: Path, device: str) -> Captioner:
    """A model that takes a picture and nothing else."""
    from transformers import AutoModelForImageTextToText, AutoTokenizer

    prepare = _preparation(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = _whole(AutoModelForImageTextToText, folder, device, attn_implementation="eager")

    def caption(picture: Image.Image) -> str:
        inputs = prepare(images=picture, return_tensors="pt").to(device)
        return _text(tokenizer, model.generate(**inputs, **GREEDY)[0])

    return caption


def _asked(folder: Path, device: str) -> Captioner:
    """A model that is asked about a picture."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    processor.image_processor = _preparation(folder)  # what it does with video exists for torchvision only
    model = _whole(AutoModelForImageTextToText, folder, device, attn_implementation="eager")
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)

    def caption(picture: Image.Image) -> str:
        inputs = processor(images=[picture], text=prompt, return_tensors="pt").to(device)
        tokens = model.generate(**inputs, **GREEDY)[0]
        return _text(processor.tokenizer, tokens[inputs["input_ids"].shape[1] :])

    return caption


def _own(folder: Path, device: str, trusted: bool) -> Captioner:
    """A model by its own code, which has a method `caption` as Moondream's has since 2025."""
    from transformers import AutoModelForCausalLM

    if not trusted:
        raise ItemError(
            "the model comes with code of its own, which would run; look at it, then add --trust-remote-code"
            " and name its revision: --model OWNER/NAME@REVISION"
        )
    model = _whole(AutoModelForCausalLM, folder, device, trust_remote_code=True)
    if not hasattr(model, "caption"):
        raise ItemError("the model's own code has no method `caption`; Moondream's has one since 2025-01-09")

    def caption(picture: Image.Image) -> str:
        return str(model.caption(picture, length="short", settings=OWN_SETTINGS)["caption"]).strip()

    return caption


def _whole(kind: Any, folder: Path, device: str, **options: Any) -> Any:
    """The model with every weight from its file: one that is missing there would be made up."""
    import torch

    told = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    model, report = kind.from_pretrained(
        folder, local_files_only=True, weights_only=True, dtype=torch.float32, **told, **options
    )
    if lacking := sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}):
        raise ItemError(f"the model's file lacks {len(lacking)} of its weights, such as {lacking[0]}")
    return model.eval().to(device)


def _preparation(folder: Path) -> Any:
    """What makes of a picture the numbers that the model takes, by PIL."""
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder, backend="pil", local_files_only=True)
    if any("Torchvision" in base.__name__ for base in type(processor).__mro__):
        raise ItemError(
            "the model has its pictures prepared by torchvision alone, whose pixels differ from machine to machine"
        )
    return processor


def _text(tokenizer: Any, tokens: Any) -> str:
    return str(tokenizer.decode(tokens, skip_special_tokens=True)).strip()


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8"))) if path.exists() else {}


def _be_quiet() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()  # a line of the job's log for every step of it


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
