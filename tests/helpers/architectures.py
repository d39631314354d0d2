"""Random tiny VLMs of many transformers architectures, each with a processor built wholly in code."""

import torch
import transformers
from transformers import AutoModelForImageTextToText, PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

from helpers.tiny_models import TEMPLATE, randomised, tiny_llava, tiny_processor

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TEXT = {**SIZES, **IDS, "num_key_value_heads": 4, "max_position_embeddings": 512}
TOWER = {**SIZES, "image_size": 28, "patch_size": 14}  # as deep and as wide as the decoder
TILE = {"height": 28, "width": 28}
TILINGS = [[28, 56], [56, 28], [56, 56]]


def byte_tokenizer(kind=PreTrainedTokenizerFast, **tokens: str):
    """The tiny LLaVA's byte-level tokenizer with special tokens, each an attribute by the name given."""
    return kind(
        tokenizer_object=tiny_processor().tokenizer.backend_tokenizer,
        unk_token="<pad>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=tokens,
        model_input_names=["input_ids", "attention_mask"],
    )


def image_processor(name: str, **options):
    """An image processor that does without torchvision: a class of its own since transformers 5."""
    return (getattr(transformers, f"{name}Pil", None) or getattr(transformers, name))(**options)


def template(placeholder: str) -> str:
    """The tiny LLaVA's chat template with another placeholder for an image."""
    return TEMPLATE.replace("<image>", placeholder)


def llava_next():
    """The image as one tile and, larger, as two to four; a newline token ends each row of their tokens."""
    tokenizer = byte_tokenizer(image_token="<image>")
    config = transformers.LlavaNextConfig(
        text_config=transformers.LlamaConfig(**TEXT),
        vision_config=transformers.CLIPVisionConfig(**TOWER),
        image_token_index=tokenizer.image_token_id,
        image_grid_pinpoints=TILINGS,
    )
    sizes = {"size": {"shortest_edge": 28}, "crop_size": TILE, "image_grid_pinpoints": TILINGS}
    processor = transformers.LlavaNextProcessor(
        image_processor("LlavaNextImageProcessor", **sizes),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE,
    )
    return config, processor


def llava_onevision():
    """One image is tiled as in LLaVA-NeXT; several images of a prompt are one tile each."""
    tokenizer = byte_tokenizer(image_token="<image>", video_token="<video>")
    config = transformers.LlavaOnevisionConfig(
        text_config=transformers.Qwen2Config(**TEXT),
        vision_config=transformers.SiglipVisionConfig(**TOWER, vision_use_head=False),
        image_token_index=tokenizer.image_token_id,
        video_token_index=tokenizer.video_token_id,
        image_grid_pinpoints=TILINGS,
    )
    processor = transformers.LlavaOnevisionProcessor(
        image_processor("LlavaOnevisionImageProcessor", size=TILE, image_grid_pinpoints=TILINGS),
        tokenizer,
        transformers.LlavaOnevisionVideoProcessor(),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE,
    )
    return config, processor


def qwen_vl(family: str, **tower):
    """Qwen2-VL, Qwen2.5-VL or Qwen3-VL: tokens by an image's size, and positions in three dimensions."""
    tokenizer = byte_tokenizer(
        transformers.Qwen2TokenizerFast,
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
        vision_start_token="<|vision_start|>",
        vision_end_token="<|vision_end|>",
    )
    config = getattr(transformers, f"{family}Config")(
        text_config={**TEXT, "head_dim": 8, "rope_scaling": {"rope_type": "default", "mrope_section": [2, 1, 1]}},
        vision_config={"depth": 4, "num_heads": 4, "hidden_size": 32, "patch_size": 14, **tower},
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.video_token_id,
        vision_start_token_id=tokenizer.vision_start_token_id,
        vision_end_token_id=tokenizer.vision_end_token_id,
    )
    processor = getattr(transformers, f"{family}Processor")(
        image_processor("Qwen2VLImageProcessor", min_pixels=56 * 56, max_pixels=84 * 84),
        tokenizer,
        transformers.Qwen2VLVideoProcessor(),
        chat_template=template("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return config, processor


def internvl():
    """The image as one tile and, where that fits its shape, as two more; four tokens a tile."""
    tokenizer = byte_tokenizer(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = transformers.InternVLConfig(
        text_config=transformers.Qwen2Config(**TEXT),
        vision_config={**TOWER, "patch_size": 7},
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=4,
    )
    processor = transformers.InternVLProcessor(
        image_processor("GotOcr2ImageProcessor", size=TILE, max_patches=2),
        tokenizer,
        transformers.InternVLVideoProcessor(),
        image_seq_length=4,
        chat_template=template("<IMG_CONTEXT>"),
    )
    return config, processor


def idefics3():
    """The image as one tile and, where it is larger, as two or four more, each between tokens that say where."""
    tokenizer = byte_tokenizer(
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        end_of_utterance_token="<end_of_utterance>",
        global_image_token="<global-img>",
        **{f"tile_{row}_{column}_token": f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)},
    )
    config = transformers.Idefics3Config(
        text_config=transformers.LlamaConfig(**TEXT),
        vision_config={**TOWER, "patch_size": 7},
        image_token_id=tokenizer.image_token_id,
    )
    processor = transformers.Idefics3Processor(
        image_processor("Idefics3ImageProcessor", size={"longest_edge": 56}, max_image_size={"longest_edge": 28}),
        tokenizer,
        image_seq_len=4,
        chat_template=TEMPLATE,
    )
    return config, processor


def gemma3():
    """Sliding windows shorter than a prompt, in turn with full attention, and image tokens that see each other."""
    tokenizer = byte_tokenizer(
        boi_token="<start_of_image>", image_token="<image_soft_token>", eoi_token="<end_of_image>"
    )
    windows = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"] * 2}
    config = transformers.Gemma3Config(
        text_config=transformers.Gemma3TextConfig(**TEXT, **windows, head_dim=8, query_pre_attn_scalar=8),
        vision_config=transformers.SiglipVisionConfig(**TOWER, vision_use_head=False),
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    processor = transformers.Gemma3Processor(
        image_processor("Gemma3ImageProcessor", size=TILE),
        tokenizer,
        chat_template=template("<start_of_image>"),
        image_seq_length=4,
    )
    return config, processor


def mllama():
    """Cross-attention layers that run beside an image alone; the image's states are no tokens of the prompt."""
    tokenizer = byte_tokenizer(image_token="<|image|>")
    config = transformers.MllamaConfig(
        text_config=transformers.models.mllama.MllamaTextConfig(
            **{**TEXT, "num_hidden_layers": 6}, cross_attention_layers=[1, 4]
        ),
        vision_config={
            "hidden_size": 32,
            "attention_heads": 4,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_global_layers": 1,
            "image_size": 28,
            "patch_size": 14,
            "max_num_tiles": 2,
            "intermediate_layers_indices": [0, 1],
            "vision_output_dim": 96,
            "supported_aspect_ratios": [[1, 1], [1, 2], [2, 1]],
        },
        image_token_index=tokenizer.image_token_id,
    )
    processor = transformers.MllamaProcessor(
        image_processor("MllamaImageProcessor", size=TILE, max_image_tiles=2),
        tokenizer,
        chat_template=template("<|image|>"),
    )
    return config, processor


QWEN2_TOWER = {"embed_dim": 32, "mlp_ratio": 2}
QWEN2_5_TOWER = {"intermediate_size": 64, "out_hidden_size": 32, "window_size": 56, "fullatt_block_indexes": [1, 3]}
QWEN3_TOWER = {
    "intermediate_size": 64,
    "out_hidden_size": 32,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0, 2],
}
BUILDERS = {
    "llava": lambda: (tiny_llava().config, tiny_processor()),
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
    "qwen2_vl": lambda: qwen_vl("Qwen2VL", **QWEN2_TOWER),
    "qwen2_5_vl": lambda: qwen_vl("Qwen2_5_VL", **QWEN2_5_TOWER),
    "qwen3_vl": lambda: qwen_vl("Qwen3VL", **QWEN3_TOWER),
    "internvl": internvl,
    "idefics3": idefics3,
    "gemma3": gemma3,
    "mllama": mllama,
}
ARCHITECTURES = tuple(BUILDERS)


def tiny_vlm(name: str, dtype=torch.float32, seed=0) -> tuple[PreTrainedModel, ProcessorMixin]:
    """A random VLM and its processor. It generates printable ASCII only: equal answers are equal tokens."""
    config, processor = BUILDERS[name]()
    vocabulary = processor.tokenizer.get_vocab()
    config.get_text_config().vocab_size = len(vocabulary)
    torch.manual_seed(seed)
    model = randomised(AutoModelForImageTextToText.from_config(config))
    unreadable = [index for token, index in vocabulary.items() if len(token) > 1 or not token.isascii()]
    model.generation_config.suppress_tokens = sorted(unreadable)
    return model.to(dtype), processor
