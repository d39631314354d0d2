"""What a checkpoint is, read without running it: for guards and subjects of engines that keep weights to themselves."""

from __future__ import annotations

import tempfile
from functools import cached_property
from typing import Any

from vlmguard_plugin.steering.fingerprint import model_fingerprint
from vlmguard_plugin.subjects.loading import nothing_run, place_of
from vlmguard_plugin.subjects.prompts import PromptBuilder


class CheckpointFacts:
    """Depth, width, fingerprint and prompts of a checkpoint, as HuggingFaceSubject has them.

    checkpoint: a save_pretrained folder or a hub name.
    """

    def __init__(self, checkpoint: str) -> None:
        from transformers import AutoConfig, AutoProcessor

        self.place = str(place_of(checkpoint))
        with nothing_run(checkpoint):
            self.processor: Any = AutoProcessor.from_pretrained(self.place, trust_remote_code=False)
            self.config: Any = AutoConfig.from_pretrained(self.place, trust_remote_code=False)
        self.prompts = PromptBuilder(self.processor, self.config)
        text: Any = self.config.get_text_config()
        self.num_layers: int = text.num_hidden_layers
        self.hidden_size: int = text.hidden_size

    @cached_property
    def fingerprint(self) -> str:
        """As of the model in transformers: its weights are read from the files, one after the other, and not kept."""
        from transformers import AutoModelForImageTextToText

        with tempfile.TemporaryDirectory() as scratch, nothing_run(self.place):
            model = AutoModelForImageTextToText.from_pretrained(
                self.place,
                dtype="auto",
                device_map={"": "disk"},
                offload_folder=scratch,
                trust_remote_code=False,
                use_safetensors=True,
            )
            return model_fingerprint(model)

    @property
    def prompt_form(self) -> str:
        """As HuggingFaceSubject's."""
        return f"processor-{self.prompts.form}"
