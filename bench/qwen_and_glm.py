"""Tiny random Qwen3 and GLM-4 models: tokens by an image's size, positions in three dimensions, some with experts."""

from __future__ import annotations

from typing import Any

import transformers
from helpers.architectures import TEXT, byte_tokenizer, image_processor, template

QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}


def glm4v(experts: bool = False) -> Any:
    tokenizer = byte_tokenizer(
        image_token="<|image|>",
        video_token="<|video|>",
        image_start_token="<|begin_of_image|>",
        image_end_token="<|end_of_image|>",
        video_start_token="<|begin_of_video|>",
        video_end_token="<|end_of_video|>",
    )
    more = {
        "moe_intermediate_size": 32,
        "num_experts_per_tok": 2,
        "n_routed_experts": 4,
        "head_dim": 8,
    }
    config = getattr(transformers, "Glm4vMoeConfig" if experts else "Glm4vConfig")(
        text_config={
            **TEXT,
            **(more if experts else {}),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [2, 1, 1] if not experts else [1, 1, 0],
                "partial_rotary_factor": 1.0 if not experts else 0.5,
            },
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "num_heads": 4,
            "intermediate_size": 64,
            "out_hidden_size": 32,
            "image_size": 56,
            "patch_size": 14,
        },
        **{
            f"{name}_token_id": getattr(tokenizer, f"{name}_token_id")
            for name in ("image", "video", "image_start", "image_end", "video_start", "video_end")
        },
    )
    processor = transformers.Glm4vProcessor(
        image_processor("Glm4vImageProcessor", size={"shortest_edge": 56 * 56, "longest_edge": 84 * 84}),
        tokenizer,
        transformers.Glm4vVideoProcessor(),
        chat_template=template("<|begin_of_image|><|image|><|end_of_image|>"),
    )
    return config, processor


def qwen3(family: str, **more: Any) -> Any:
    """Qwen3-VL with experts, and Qwen3.5 with layers of linear attention."""
    tokenizer = byte_tokenizer(transformers.Qwen2TokenizerFast, **QWEN_TOKENS)
    linear = {
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
    }
    tower = {"deepstack_visual_indexes": [0, 2]} if "VL" in family else {}
    rope = {
        "rope_type": "default",
        "mrope_section": [2, 1, 1],
        "mrope_interleaved": True,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 1.0,
    }
    config = getattr(transformers, f"{family}Config")(
        text_config={**TEXT, "head_dim": 8, "rope_parameters": rope, **({} if tower else linear), **more},
        vision_config={
            "depth": 4,
            "num_heads": 4,
            "hidden_size": 32,
            "patch_size": 16,
            "intermediate_size": 64,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            **tower,
        },
        **{f"{name}_id": getattr(tokenizer, f"{name}_id") for name in QWEN_TOKENS},
    )
    processor = transformers.Qwen3VLProcessor(
        image_processor("Qwen2VLImageProcessor", patch_size=16, min_pixels=64 * 64, max_pixels=96 * 96),
        tokenizer,
        transformers.Qwen3VLVideoProcessor(),
        chat_template=template("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return config, processor
