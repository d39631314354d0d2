"""A random model of any architecture that VLMEvalKit's classes ask for, and its processor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import transformers
from helpers import architectures
from helpers.architectures import TEXT, byte_tokenizer
from helpers.tiny_models import randomised
from host_architectures import BUILDERS
from remote_stand_in import ChatStandIn


def randomised_stand_in(config: Any, tokenizer: Any) -> ChatStandIn:
    """The stand-in with random weights, whose answers can be read."""
    model = ChatStandIn(config)
    randomised(model.language_model)
    suppress_unreadable(model.language_model, tokenizer)
    return model.eval()


def suppress_unreadable(model: Any, tokenizer: Any) -> None:
    """Let a model answer in printable ASCII alone: equal answers are then equal tokens."""
    vocabulary = tokenizer.get_vocab()
    unreadable = [index for token, index in vocabulary.items() if len(token) > 1 or not token.isascii()]
    model.generation_config.suppress_tokens = sorted(unreadable)


STAND_IN = "chat stand-in"
"""In an architecture's place, `remote_stand_in`."""


def tiny_model(name: str, seed: int = 0) -> tuple[Any, Any]:
    """A random model of an architecture and its processor."""
    if name == STAND_IN:
        tokenizer = byte_tokenizer(image_token="<image>")
        torch.manual_seed(seed)
        stand_in = randomised_stand_in(transformers.Qwen2Config(**TEXT, vocab_size=len(tokenizer)), tokenizer)
        return stand_in, SimpleNamespace(tokenizer=tokenizer)
    if name not in BUILDERS:
        model, processor = architectures.tiny_vlm(name, seed=seed)
        processor.tokenizer.chat_template = processor.chat_template
        return model, processor
    config, processor = BUILDERS[name]()
    config.get_text_config().vocab_size = len(processor.tokenizer.get_vocab())
    torch.manual_seed(seed)
    model = randomised(transformers.AutoModelForImageTextToText.from_config(config))
    suppress_unreadable(model, processor.tokenizer)
    return model.float(), processor
