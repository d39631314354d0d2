"""Names of weights that vLLM does not know yet."""

from __future__ import annotations

from importlib import import_module
from typing import Sequence

TOWER_PARTS = ("embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm.")
MODELS = {"LlavaForConditionalGeneration": "llava", "Gemma3ForConditionalGeneration": "gemma3_mm"}
"""Models of vLLM's that were tried with such names, and the modules they are in."""


def know_flat_towers(architectures: Sequence[str] | None) -> None:
    """transformers 5 saves towers of CLIP and SigLIP without `vision_model.` in their names, which vLLM 0.32 expects
    there. architectures: those of the checkpoint.

    Look at it again by June 2027.
    """
    for name in MODELS.keys() & set(architectures or ()):
        model = getattr(import_module(f"vllm.model_executor.models.{MODELS[name]}"), name)
        names = model.hf_to_vllm_mapper.orig_to_new_prefix
        for part in TOWER_PARTS:
            names.setdefault(f"vision_tower.{part}", f"vision_tower.vision_model.{part}")
