"""Folders of a tiny random CLIP model and of a tiny random reward model, made once."""

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizerFast,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from helpers.tiny_models import byte_tokenizer

TEMPLATE = "{% for message in messages %}<|turn|>{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"


@cache
def place():
    """A folder of this process's own, removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-evaluators-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def clip_folder(seed=0):
    folder = place() / f"clip-{seed}"
    folder.mkdir()
    letters = sorted(set(pre_tokenizers.ByteLevel.alphabet()))
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizerFast.from_pretrained(folder)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(seed)
    text = {**shape, "vocab_size": len(words), "max_position_embeddings": 24, "bos_token_id": 512, "eos_token_id": 513}
    config = CLIPConfig(
        text_config={**text, "pad_token_id": 513},
        vision_config={**shape, "image_size": 28, "patch_size": 14},
        projection_dim=16,
    )
    model = CLIPModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.3)
        model.logit_scale.fill_(4.6052)  # 100, as in published models
    model.save_pretrained(folder)
    images = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return folder


@cache
def reward_folder(seed=0, labels=1, template=TEMPLATE, context=2048):
    folder = place() / f"reward-{seed}-{labels}-{template is None}-{context}"
    tokenizer = byte_tokenizer("<|turn|>")
    tokenizer.chat_template = template
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=context,
        num_labels=labels,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
