"""Tiny random LLaVAs and their processor, built with the transformers version under test."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def byte_tokenizer(special: str, bos: str | None = "<s>") -> PreTrainedTokenizerFast:
    """One token a byte, after padding, begin and end of text, and one special token more."""
    tokens = ["<pad>", "<s>", "</s>", special, *sorted(set(pre_tokenizers.ByteLevel.alphabet()))]
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token=bos,
        eos_token="</s>",
        additional_special_tokens=[special],
        model_input_names=["input_ids", "attention_mask"],
    )


def tiny_processor() -> LlavaProcessor:
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    return LlavaProcessor(
        image_processor=images,
        tokenizer=byte_tokenizer("<image>"),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
        chat_template=TEMPLATE,
    )


def tiny_llava(
    layers=4, width=32, heads=4, seed=0, dtype=torch.float32, family="llama"
) -> LlavaForConditionalGeneration:
    """A random LLaVA. family: "llama" or "qwen2", the language model. The tower has as many layers as wide."""
    torch.manual_seed(seed)
    text = {"llama": LlamaConfig, "qwen2": Qwen2Config}[family](
        vocab_size=340,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=28,
        patch_size=14,
        projection_dim=width,
    )
    config = LlavaConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=3,
        vision_feature_select_strategy="default",
        vision_feature_layer=-2,
    )
    return randomised(LlavaForConditionalGeneration(config)).to(dtype)


def randomised(model):
    """The model with random weights, large enough that layers, images and words matter; it never stops early."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.15)
            elif parameter.numel() == 1:
                parameter.fill_(1)  # the gates of cross-attention layers begin shut
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model.eval()
