"""Tiny whisper checkpoints in both genuine formats, with seeded random weights.

They have a text in their weights, by position, whatever they hear. Those that are `sure` of it say it, and nothing is
drawn at random. Those that are not try every temperature in vain.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Shape:
    """How large a model is."""

    width: int
    heads: int
    audio_layers: int
    text_layers: int


SPEECH = " And so my fellow Americans", " ask not what your country can do for you"
TIMES = (0.0, 4.0, 11.0)  # seconds, around the two
TINY = Shape(width=32, heads=2, audio_layers=1, text_layers=2)
BASE = Shape(width=512, heads=8, audio_layers=6, text_layers=6)
"""The shape of openai-whisper's `base`."""
SURE, UNSURE = 6.0, 2.0  # how much more likely the text is than any other
BANDS = 80


def write(path: Path, *, sure: float = SURE, english: bool = False, language: str = "en", shape: Shape = TINY) -> Path:
    """Write a checkpoint of openai-whisper; `language` is what it takes all speech for."""
    import torch
    from whisper.model import ModelDimensions, Whisper

    words = 51864 if english else 51865
    wide = (shape.width, shape.heads)
    dims = ModelDimensions(BANDS, 1500, *wide, shape.audio_layers, words, 448, *wide, shape.text_layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = Whisper(dims)
        for parameter in model.parameters():
            parameter.data.normal_(0, 0.05)
        _teach(model, _program(english, language), sure)
    torch.save({"dims": asdict(dims), "model_state_dict": model.half().state_dict()}, path)
    return path


def _tokenizer(english: bool) -> Any:
    from whisper.tokenizer import get_tokenizer

    return get_tokenizer(not english, num_languages=99, language="en", task="transcribe")


def _program(english: bool, language: str) -> list[int]:
    """The token after each position. The text begins after three tokens: start, language and task."""
    known = _tokenizer(english)
    first, second = map(known.encode, SPEECH)
    begin, middle, end = (known.timestamp_begin + round(time / 0.02) for time in TIMES)
    lead = [] if english else [known.to_language_token(language), known.transcribe]
    text = [begin, *first, middle, middle, *second, end, known.eot]
    return lead + text * (448 // len(text) + 1)


def _teach(model: Any, program: list[int], sure: float) -> None:
    import torch

    decoder = model.decoder
    words = decoder.token_embedding.weight.data
    words.sub_(words.mean(1, keepdim=True)).div_(words.norm(dim=1, keepdim=True))
    decoder.positional_embedding.data.copy_(20 * words[torch.tensor(program[:448])])
    decoder.ln.weight.data.fill_(sure)
    decoder.ln.bias.data.zero_()
    for block in decoder.blocks:  # attend to some moments more than to others, or words have no times
        block.cross_attn.query.weight.data.normal_(0, 0.5)
        block.cross_attn.key.weight.data.normal_(0, 0.5)


def convert(checkpoint: Path, folder: Path) -> Path:
    """Write the same model as faster-whisper takes it: a folder in the format of CTranslate2."""
    import torch
    from ctranslate2.specs.whisper_spec import WhisperSpec

    saved = torch.load(checkpoint, weights_only=True)
    dims = saved["dims"]
    english = dims["n_vocab"] == 51864
    weights = {name: tensor.float().numpy() for name, tensor in saved["model_state_dict"].items()}
    heads = dims["n_audio_head"]
    spec = WhisperSpec(dims["n_audio_layer"], heads, dims["n_text_layer"], heads)
    _fill_encoder(spec.encoder, weights, dims["n_audio_layer"])
    _fill_decoder(spec.decoder, weights, dims["n_text_layer"])
    _configure(spec.config, english, heads)
    spec.register_vocabulary(_vocabulary(english))
    spec.validate()
    spec.optimize()
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    _save_tokenizer(folder / "tokenizer.json", english)
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": dims["n_mels"]}))
    return folder


def _fill_encoder(spec: Any, weights: dict[str, Any], layers: int) -> None:
    for name in ("conv1", "conv2"):
        _linear(getattr(spec, name), weights, f"encoder.{name}")
    spec.position_encodings.encodings = weights["encoder.positional_embedding"]
    _norm(spec.layer_norm, weights, "encoder.ln_post")
    for number in range(layers):
        _fill_layer(spec.layer[number], weights, f"encoder.blocks.{number}")


def _fill_decoder(spec: Any, weights: dict[str, Any], layers: int) -> None:
    spec.embeddings.weight = spec.projection.weight = weights["decoder.token_embedding.weight"]
    spec.position_encodings.encodings = weights["decoder.positional_embedding"]
    _norm(spec.layer_norm, weights, "decoder.ln")
    for number in range(layers):
        name = f"decoder.blocks.{number}"
        _fill_layer(spec.layer[number], weights, name)
        _norm(spec.layer[number].attention.layer_norm, weights, f"{name}.cross_attn_ln")
        _attention(spec.layer[number].attention.linear, weights, f"{name}.cross_attn")


def _fill_layer(spec: Any, weights: dict[str, Any], name: str) -> None:
    _norm(spec.self_attention.layer_norm, weights, f"{name}.attn_ln")
    _attention(spec.self_attention.linear, weights, f"{name}.attn")
    _norm(spec.ffn.layer_norm, weights, f"{name}.mlp_ln")
    _linear(spec.ffn.linear_0, weights, f"{name}.mlp.0")
    _linear(spec.ffn.linear_1, weights, f"{name}.mlp.2")


def _attention(linears: list[Any], weights: dict[str, Any], name: str) -> None:
    """Of oneself: (query, key and value), out. Of another: query, (key and value), out."""
    import numpy as np

    roles = ("query", "key", "value")
    parts = [roles] if len(linears) == 2 else [roles[:1], roles[1:]]
    for linear, part in zip(linears, parts, strict=False):
        none = np.zeros(weights[f"{name}.query.bias"].shape, np.float32)  # keys have no bias
        linear.weight = np.concatenate([weights[f"{name}.{role}.weight"] for role in part])
        linear.bias = np.concatenate([weights.get(f"{name}.{role}.bias", none) for role in part])
    _linear(linears[-1], weights, f"{name}.out")


def _linear(spec: Any, weights: dict[str, Any], name: str) -> None:
    spec.weight, spec.bias = weights[f"{name}.weight"], weights[f"{name}.bias"]


def _norm(spec: Any, weights: dict[str, Any], name: str) -> None:
    spec.gamma, spec.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]


def _configure(config: Any, english: bool, heads: int) -> None:
    known = _tokenizer(english)
    config.suppress_ids = list(known.non_speech_tokens)
    config.suppress_ids_begin = [*known.encode(" "), known.eot]
    config.alignment_heads = [(1, head) for head in range(heads)]
    config.lang_ids = [] if english else list(known.all_language_tokens)


@cache
def _spelling() -> dict[int, str]:
    """Bytes as byte-level vocabularies spell them: one printable character each."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + number) for number, byte in enumerate(others)}


def _spelled(token: bytes) -> str:
    return "".join(map(_spelling().__getitem__, token))


def _vocabulary(english: bool) -> list[str]:
    encoding = _tokenizer(english).encoding
    ordinary = {rank: _spelled(token) for token, rank in encoding._mergeable_ranks.items()}
    tokens = ordinary | {rank: token for token, rank in encoding._special_tokens.items()}
    return [tokens[rank] for rank in range(len(tokens))]


def _save_tokenizer(path: Path, english: bool) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    encoding = _tokenizer(english).encoding
    ranks = encoding._mergeable_ranks
    vocabulary = {_spelled(token): rank for token, rank in ranks.items()}
    merges = [tuple(map(_spelled, _halves(token, ranks))) for token in ranks if len(token) > 1]
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = sorted(encoding._special_tokens, key=encoding._special_tokens.__getitem__)
    made.add_special_tokens([AddedToken(token, special=True) for token in special])
    made.save(str(path))


def _halves(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The two tokens that were merged into this one: merging by rank, up to its own."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(one + other, len(ranks)) for one, other in pairwise(parts)]
        place = pairs.index(min(pairs))
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts
