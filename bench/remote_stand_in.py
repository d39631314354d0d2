"""A stand-in for code that InternVL and its like load from the hub: the `chat` that their host classes call.

Its language model is transformers' own, as in the original; the vision tower is one linear map of a tile's mean colour.
What the host's class does before and behind `chat` is real, and so is the decoding.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import transformers
from torch import nn


class ChatStandIn(nn.Module):
    """A language model that takes tiles before the words, with the interface of InternVLChatModel."""

    device = torch.device("cpu")
    dtype = torch.float32
    system_message = ""

    def __init__(self, config: transformers.Qwen2Config) -> None:
        super().__init__()
        self.language_model = transformers.Qwen2ForCausalLM(config)
        self.vision = nn.Linear(3, config.hidden_size)
        self.config = SimpleNamespace(llm_config=config, vision_config=SimpleNamespace(image_size=56))

    @torch.no_grad()
    def chat(
        self,
        tokenizer: Any,
        pixel_values: torch.Tensor | None,
        question: str,
        generation_config: dict[str, Any],
        history: list[tuple[str, str]] | None = None,
        return_history: bool = False,
        num_patches_list: list[int] | None = None,
        verbose: bool = False,
        **_: Any,
    ) -> Any:
        """The answer. pixel_values: tiles [any, 3, height, width]; None without an image."""
        turns = "".join(f"{asked}\n{answered}\n" for asked, answered in history or [])
        words = tokenizer(f"{self.system_message}{turns}{question}", return_tensors="pt").input_ids
        embeds = self.language_model.get_input_embeddings()(words)
        if pixel_values is not None:
            tiles = self.vision(pixel_values.float().mean(dim=(2, 3)))
            embeds = torch.cat([tiles[None], embeds], dim=1)
        given = {name: value for name, value in dict(generation_config).items() if value is not None}
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        tokens = self.language_model.generate(inputs_embeds=embeds, attention_mask=mask, **given)
        answer = tokenizer.batch_decode(tokens, skip_special_tokens=True)[0]
        return (answer, [*(history or []), (question, answer)]) if return_history else answer
