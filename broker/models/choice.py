"""Which files of a repository, or of a folder, are the model: its weights in one format, and what goes with them."""

from __future__ import annotations

import re
from collections.abc import Iterable

PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
BESIDE = (".json", ".txt", ".model", ".jinja", ".bpe", ".spm")
INDEX = re.compile(r".*\.(safetensors|bin)\.index\.json")
UNUSED = re.compile(
    r"(requirements.*|LICENSE.*|training_args.*|trainer_state.*|all_results.*|.*_results)\.(txt|json)", re.I
)
WEIGHTS = (
    re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?"),
    re.compile(r"[^/]+\.safetensors"),
    re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?"),
    re.compile(r"(?!training_args|optimizer|scheduler|rng_state)[^/]+\.(bin|pt|pth)"),
)
"""Formats of weights, the best first: safetensors hold no code."""
OPEN_CLIP = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def plain(name: str) -> str:
    """A file's path in its repository, as it is; raises ValueError for one that we let no machine make."""
    if not PLAIN.fullmatch(name):
        raise ValueError(f"{name!r} cannot be a file of a model")
    return name


def choose(names: Iterable[str], code: bool = False) -> list[str]:
    """The files that make up a model, of all there are; none where there are no weights. `code`: its own modules, too.

    A repository may hold the same weights for several programs. One with `open_clip_config.json` is taken for what
    open_clip loads, one with `model.bin` beside its vocabulary for what CTranslate2 loads, any other for transformers.
    """
    there = sorted(name for name in names if PLAIN.fullmatch(name))
    weights = _open_clip(there) or _ctranslate2(there) or _any(there)
    return sorted({*weights, *_beside(there), *(_modules(there) if code else ())}) if weights else []


def _open_clip(there: list[str]) -> list[str]:
    return [name for name in OPEN_CLIP if name in there][:1] if "open_clip_config.json" in there else []


def _ctranslate2(there: list[str]) -> list[str]:
    vocabulary = any(name.startswith("vocabulary.") for name in there)
    return ["model.bin"] if vocabulary and "model.bin" in there else []


def _any(there: list[str]) -> list[str]:
    for pattern in WEIGHTS:
        found = [name for name in there if pattern.fullmatch(name)]
        if any(not INDEX.fullmatch(name) for name in found):
            return found
    return []


def _beside(there: list[str]) -> list[str]:
    small = [name for name in there if "/" not in name and name.endswith(BESIDE)]
    return [name for name in small if not INDEX.fullmatch(name) and not UNUSED.fullmatch(name)]


def _modules(there: list[str]) -> list[str]:
    return [name for name in there if name.endswith(".py")]
