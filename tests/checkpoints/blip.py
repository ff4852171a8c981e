"""A tiny BLIP in the format of the genuine repositories: random weights, few words, pictures of the real size."""

from __future__ import annotations

from pathlib import Path

WORDS = ("red", "green", "blue", "dark", "dog", "cat", "man", "woman", "tree", "car", "sky", "sea", "on", "in", "near")
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "a", "the"]
PAD, CLS, SEP = (VOCABULARY.index(f"[{name}]") for name in ("PAD", "CLS", "SEP"))
DEC = len(VOCABULARY)  # as in the genuine ones, the decoder's first token is none of the tokenizer's
SPREAD = 0.6  # of the weights: enough for another picture to mean another caption


def save(folder: Path, seed: int = 0, wordless: bool = False) -> Path:
    """Write the model, its tokenizer and its preprocessor; `wordless` makes one whose captions are empty."""
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration, BlipImageProcessorPil

    torch.manual_seed(seed)
    text = {"vocab_size": DEC + 2, "hidden_size": 16, "encoder_hidden_size": 16, "intermediate_size": 32}
    text |= {"num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}
    text |= {"bos_token_id": DEC, "eos_token_id": SEP, "sep_token_id": SEP, "pad_token_id": PAD}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 384, "patch_size": 64, "initializer_range": SPREAD}
    text |= {"initializer_range": SPREAD}
    model = BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=vision)).eval()
    bias = model.text_decoder.cls.predictions.bias.data
    bias[:SEP], bias[SEP] = -9, 9 if wordless else -1
    model.save_pretrained(folder)
    BlipImageProcessorPil().save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def save_tokenizer(folder: Path) -> None:
    """Write a BERT tokenizer that knows `VOCABULARY`: `tokenizer.json`, and the `vocab.txt` of older ones."""
    from transformers import BertTokenizer

    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    BertTokenizer.from_pretrained(folder).save_pretrained(folder)
