"""Tiny random architectures that VLMEvalKit's classes ask transformers for, beside those of the tests."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable

import transformers
from helpers import architectures
from helpers.architectures import IDS, SIZES, TEXT, TILE, TOWER, byte_tokenizer, image_processor, template
from helpers.tiny_models import TEMPLATE
from qwen_and_glm import glm4v, qwen3

EXPERTS = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "decoder_sparse_step": 1,
}


def paligemma() -> Any:
    tokenizer = byte_tokenizer(image_token="<image>")
    config = transformers.PaliGemmaConfig(
        text_config={"model_type": "gemma", **TEXT, "head_dim": 8},
        vision_config={"model_type": "siglip_vision_model", **TOWER, "vision_use_head": False},
        image_token_index=tokenizer.image_token_id,
        projection_dim=32,
        hidden_size=32,
    )
    pictures = image_processor("SiglipImageProcessor", size=TILE)
    pictures.image_seq_length = 4
    return config, transformers.PaliGemmaProcessor(pictures, tokenizer)


def llava_next_without_template() -> Any:
    """Falcon 2's checkpoint has no chat template."""
    config, processor = architectures.llava_next()
    processor.chat_template = None
    return config, processor


def smolvlm() -> Any:
    tokenizer = byte_tokenizer(
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        end_of_utterance_token="<end_of_utterance>",
        global_image_token="<global-img>",
        **{f"tile_{row}_{column}_token": f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)},
    )
    config = transformers.SmolVLMConfig(
        text_config={"model_type": "llama", **TEXT},
        vision_config={**TOWER, "patch_size": 7},
        image_token_id=tokenizer.image_token_id,
    )
    sizes = {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 28}}
    processor = transformers.SmolVLMProcessor(
        image_processor("SmolVLMImageProcessor", **sizes),
        tokenizer,
        transformers.SmolVLMVideoProcessor(**sizes),
        image_seq_len=4,
        chat_template=TEMPLATE,
    )
    return config, processor


def chameleon() -> Any:
    tokenizer = byte_tokenizer(
        image_token="<image>", boi_token="<racm3:break>", eoi_token="<eoss>", sep_token="<reserved08706>"
    )
    images = {f"IMGIMG{letter}Z": None for letter in "ABCDEFGH"}
    tokenizer.add_tokens(list(images))
    vocabulary = tokenizer.get_vocab()
    config = transformers.ChameleonConfig(
        **TEXT,
        vq_config={
            "embed_dim": 8,
            "num_embeddings": 8,
            "latent_channels": 8,
            "resolution": 28,
            "base_channels": 32,
            "channel_multiplier": [1, 1],
            "num_res_blocks": 1,
        },
        vocabulary_map={**vocabulary, "<image>": tokenizer.image_token_id},
    )
    pictures = image_processor("ChameleonImageProcessor", size={"shortest_edge": 28}, crop_size=TILE)
    return config, transformers.ChameleonProcessor(pictures, tokenizer, image_seq_length=14 * 14)


def gemma4() -> Any:
    tokenizer = byte_tokenizer(
        boi_token="<|image>",
        image_token="<|image|>",
        eoi_token="<image|>",
        boa_token="<|audio>",
        audio_token="<|audio|>",
        eoa_token="<audio|>",
    )
    config = transformers.Gemma4Config(
        text_config={
            **TEXT,
            "head_dim": 8,
            "global_head_dim": 8,
            "sliding_window": 16,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 400,
        },
        vision_config={**SIZES, "num_key_value_heads": 4, "head_dim": 8, "patch_size": 4, "pooling_kernel_size": 2},
        audio_config=None,
        boi_token_id=tokenizer.boi_token_id,
        eoi_token_id=tokenizer.eoi_token_id,
        image_token_id=tokenizer.image_token_id,
        audio_token_id=tokenizer.audio_token_id,
        boa_token_id=tokenizer.boa_token_id,
        eoa_token_index=tokenizer.eoa_token_id,
    )
    sizes = {"patch_size": 4, "pooling_kernel_size": 2, "max_soft_tokens": 70}
    processor = transformers.Gemma4Processor(
        transformers.Gemma4AudioFeatureExtractor(),
        image_processor("Gemma4ImageProcessor", **sizes),
        tokenizer,
        transformers.Gemma4VideoProcessor(**sizes),
        chat_template=template("<|image|>"),
    )
    config.video_token_id = processor.video_token_id
    tokenizer.response_template = {"type": "object", "properties": {"content": {"type": "string"}}}
    return config, processor


def lfm2_vl() -> Any:
    tokenizer = byte_tokenizer(
        image_token="<image>",
        image_start_token="<|image_start|>",
        image_end_token="<|image_end|>",
        image_thumbnail="<|img_thumbnail|>",
    )
    config = transformers.Lfm2VlConfig(
        text_config={
            "model_type": "lfm2",
            **TEXT,
            "layer_types": ["conv", "full_attention"] * 2,
            "block_auto_adjust_ff_dim": False,
        },
        vision_config={"model_type": "siglip2_vision_model", **SIZES, "patch_size": 14, "num_patches": 16},
        image_token_id=tokenizer.image_token_id,
        projector_hidden_size=32,
    )
    pictures = image_processor(
        "Lfm2VlImageProcessor",
        encoder_patch_size=14,
        tile_size=56,
        min_image_tokens=4,
        max_image_tokens=4,
        max_num_patches=16,
        do_image_splitting=False,
    )
    return config, transformers.Lfm2VlProcessor(pictures, tokenizer, chat_template=TEMPLATE)


def llama4() -> Any:
    tokenizer = byte_tokenizer(
        image_token="<|image|>",
        start_token="<|image_start|>",
        end_token="<|image_end|>",
        patch_token="<|patch|>",
        x_token="<|tile_x_separator|>",
        y_token="<|tile_y_separator|>",
    )
    config = transformers.Llama4Config(
        text_config={
            **TEXT,
            "head_dim": 8,
            "intermediate_size_mlp": 64,
            "num_local_experts": 2,
            "attention_chunk_size": 256,
        },
        vision_config={
            **SIZES,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "image_size": 28,
            "patch_size": 7,
            "vision_output_dim": 32,
            "projector_input_dim": 32,
            "projector_output_dim": 32,
        },
        image_token_index=tokenizer.convert_tokens_to_ids("<|patch|>"),
        boi_token_index=tokenizer.start_token_id,
        eoi_token_index=tokenizer.end_token_id,
    )
    pictures = image_processor("Llama4ImageProcessor", size=TILE, max_patches=2)
    processor = transformers.Llama4Processor(pictures, tokenizer, patch_size=7, chat_template=template("<|image|>"))
    return config, processor


def kosmos2() -> Any:
    tags = ("image", "/image", "phrase", "/phrase", "object", "/object", "delimiter_of_multi_objects/", "grounding")
    tokenizer = byte_tokenizer(**{f"tag_{number}_token": f"<{tag}>" for number, tag in enumerate(tags)})
    config = transformers.Kosmos2Config(
        text_config={
            "vocab_size": 2000,
            "embed_dim": 32,
            "layers": 4,
            "ffn_dim": 64,
            "attention_heads": 4,
            "max_position_embeddings": 512,
            "dropout": 0.0,
            "attention_dropout": 0.0,
            **IDS,
        },
        vision_config={**TOWER, "num_hidden_layers": 2},
        latent_query_num=4,
    )
    processor = transformers.Kosmos2Processor(
        image_processor("CLIPImageProcessor", size={"shortest_edge": 28}, crop_size=TILE),
        tokenizer,
        num_patch_index_tokens=16,
    )
    processor.num_image_tokens = 4
    return config, processor


def idefics() -> Any:
    tokenizer = byte_tokenizer(
        image_token="<image>", fake_token="<fake_token_around_image>", end_token="<end_of_utterance>"
    )
    config = transformers.IdeficsConfig(
        **{name: value for name, value in TEXT.items() if name != "num_key_value_heads"},
        vision_config={
            "embed_dim": 32,
            "image_size": 28,
            "patch_size": 14,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
        cross_layer_interval=2,
        alpha_initializer="ones",
        alpha_type="vector",
    )
    pictures = image_processor("IdeficsImageProcessor", image_size=28)
    return config, transformers.IdeficsProcessor(pictures, tokenizer, image_size=28)


BUILDERS: dict[str, Callable[[], Any]] = {
    "llava_next_without_template": llava_next_without_template,
    "paligemma": paligemma,
    "smolvlm": smolvlm,
    "chameleon": chameleon,
    "glm4v": glm4v,
    "glm4v_moe": partial(glm4v, experts=True),
    "gemma4": gemma4,
    "lfm2_vl": lfm2_vl,
    "llama4": llama4,
    "kosmos2": kosmos2,
    "idefics": idefics,
    "qwen3_vl": partial(qwen3, "Qwen3VL"),
    "qwen3_vl_moe": partial(qwen3, "Qwen3VLMoe", **EXPERTS),
    "qwen3_5": partial(qwen3, "Qwen3_5"),
    "qwen3_5_moe": partial(qwen3, "Qwen3_5Moe", **EXPERTS),
}
"""By name, what gives a config and a processor."""
