"""A tiny GIT in the format of the genuine repositories, whose pictures go through CLIP's preprocessor at 224 pixels."""

from __future__ import annotations

from pathlib import Path

from tests.checkpoints.blip import CLS, PAD, SEP, SPREAD, VOCABULARY, save_tokenizer


def save(folder: Path, seed: int = 0) -> Path:
    """Write the model, its tokenizer and its preprocessor."""
    import torch
    from transformers import CLIPImageProcessorPil, GitConfig, GitForCausalLM

    torch.manual_seed(seed)
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 224, "patch_size": 56, "initializer_range": SPREAD}
    text = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": len(VOCABULARY), "max_position_embeddings": 128, "initializer_range": SPREAD}
    text |= {"bos_token_id": CLS, "eos_token_id": SEP, "pad_token_id": PAD}
    GitForCausalLM(GitConfig(vision_config=vision, **text)).eval().save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, resample=3
    ).save_pretrained(folder)
    save_tokenizer(folder)
    return folder
