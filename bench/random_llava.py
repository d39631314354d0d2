"""Random LLaVAs of any size, with a processor and queries: they cost what trained ones cost, and need no network."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

import vlmguard_plugin as vg
from vlmguard_plugin.anchors import AnchorPair, Anchors

SPECIAL = ("<pad>", "<s>", "</s>", "<image>", "<unk>")
TEMPLATE = (
    "<s> {% for message in messages %}{{ message['role'] }} : {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }} {% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


@dataclass(frozen=True)
class Shape:
    """Widths and depths of a LLaVA. image: pixels a side, in patches of 14."""

    width: int
    layers: int
    heads: int
    mlp: int
    words: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    image: int


SHAPES = {
    "llava-1.5-7b": Shape(4096, 32, 32, 11008, 32064, 1024, 24, 16, 336),
    "tiny": Shape(64, 4, 4, 128, 512, 32, 3, 4, 28),
}


def random_subject(
    shape: Shape, device: str, dtype: torch.dtype, batch_size: int, seed: int = 0
) -> vg.HuggingFaceSubject:
    """A random model of this shape on a device; it never ends an answer by itself."""
    torch.manual_seed(seed)
    text = LlamaConfig(
        vocab_size=shape.words,
        hidden_size=shape.width,
        intermediate_size=shape.mlp,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=4096,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    vision = CLIPVisionConfig(
        hidden_size=shape.vision_width,
        intermediate_size=4 * shape.vision_width,
        num_hidden_layers=shape.vision_layers,
        num_attention_heads=shape.vision_heads,
        image_size=shape.image,
        patch_size=14,
        projection_dim=shape.vision_width,
    )
    config = LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=3,
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = LlavaForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    generator = torch.Generator(device).manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.6 * parameter.shape[-1] ** -0.5, generator=generator)
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return vg.HuggingFaceSubject(model, processor(shape), batch_size=batch_size)


def processor(shape: Shape) -> LlavaProcessor:
    """Whole words are tokens: "w17" and those of the template."""
    words = [*SPECIAL, "user", "assistant", ":"]
    words += [f"w{number}" for number in range(shape.words - len(words))]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": shape.image}, crop_size={"height": shape.image, "width": shape.image}
        ),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            pad_token="<pad>",
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            additional_special_tokens=["<image>"],
            model_input_names=["input_ids", "attention_mask"],
            padding_side="left",
        ),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=TEMPLATE,
    )


def request(shape: Shape, draw: random.Random, least: int = 20, most: int = 60) -> str:
    """A request of random words."""
    return " ".join(f"w{draw.randrange(shape.words - 10)}" for _ in range(draw.randint(least, most)))


def random_queries(shape: Shape, count: int, seed: int = 0) -> list[vg.Query]:
    """Queries with one picture each, all different."""
    draw, pixels = random.Random(seed), np.random.default_rng(seed)
    pictures = (pixels.integers(0, 256, (shape.image, shape.image, 3), dtype=np.uint8) for _ in range(count))
    return [vg.Query(request(shape, draw), images=(Image.fromarray(picture),)) for picture in pictures]


def random_anchors(shape: Shape, pairs: int, seed: int = 1) -> Anchors:
    """Anchor pairs of random words; what a fit costs does not depend on what they say."""
    draw = random.Random(seed)
    return Anchors(tuple(AnchorPair(request(shape, draw, 8, 16), request(shape, draw, 8, 16)) for _ in range(pairs)))
