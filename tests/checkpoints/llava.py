"""A tiny LLaVA, the simplest of the models that are asked about a picture, with the template of how one asks."""

from __future__ import annotations

from pathlib import Path

from tests.checkpoints.blip import SPREAD, WORDS

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "USER:", "ASSISTANT:"]
TEMPLATE = (
    "{% for message in messages %}USER: {% for part in message['content'] %}"
    "{{ '<image> ' if part['type'] == 'image' else part['text'] }}{% endfor %}{% endfor %} ASSISTANT: "
)
PICTURE, PATCH = 32, 16  # pixels


def save(folder: Path, seed: int = 0) -> Path:
    """Write the model, its tokenizer, its preprocessor and its template."""
    import torch
    from transformers import CLIPImageProcessorPil, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"initializer_range": SPREAD}
    vision = {"model_type": "clip_vision_model", "image_size": PICTURE, "patch_size": PATCH, "projection_dim": 16}
    text = {"model_type": "llama", "vocab_size": len(SPECIAL) + len(WORDS), "max_position_embeddings": 256}
    text |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = LlavaConfig(vision_config=vision | shape, text_config=text | shape, image_token_index=4)
    LlavaForConditionalGeneration(config).eval().save_pretrained(folder)
    square = {"size": {"shortest_edge": PICTURE}, "crop_size": {"height": PICTURE, "width": PICTURE}}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(**square),
        _tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    processor.save_pretrained(folder)
    return folder


def _tokenizer() -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special, additional_special_tokens=SPECIAL[4:])
