"""Tiny random models of the architectures that VLMEvalKit's classes ask transformers for, beside those of the tests."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import transformers

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from helpers import architectures  # noqa: E402
from helpers.architectures import TEXT, TILE, TOWER, byte_tokenizer, image_processor, template  # noqa: E402
from helpers.tiny_models import TEMPLATE, randomised  # noqa: E402

BUILDERS: dict[str, Any] = {}
"""By name, what gives a config and a processor."""


def tiny_model(name: str, seed: int = 0) -> tuple[Any, Any]:
    """A random model of an architecture and its processor."""
    if name in architectures.BUILDERS:
        return architectures.tiny_vlm(name, seed=seed)
    config, processor = BUILDERS[name]()
    vocabulary = processor.tokenizer.get_vocab()
    config.get_text_config().vocab_size = len(vocabulary)
    torch.manual_seed(seed)
    model = randomised(transformers.AutoModelForImageTextToText.from_config(config))
    unreadable = [index for token, index in vocabulary.items() if len(token) > 1 or not token.isascii()]
    model.generation_config.suppress_tokens = sorted(unreadable)
    return model.float(), processor
