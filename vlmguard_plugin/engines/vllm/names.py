"""Names of weights that vLLM does not know yet."""

from __future__ import annotations

TOWER_PARTS = ("embeddings.", "encoder.", "pre_layrnorm.", "post_layernorm.")


def know_flat_towers() -> None:
    """transformers 5 saves LLaVA's CLIP tower without `vision_model.` in its names, which vLLM 0.32 expects there.

    Look at it again by June 2027.
    """
    from vllm.model_executor.models.llava import LlavaForConditionalGeneration

    names = LlavaForConditionalGeneration.hf_to_vllm_mapper.orig_to_new_prefix
    for part in TOWER_PARTS:
        names.setdefault(f"vision_tower.{part}", f"vision_tower.vision_model.{part}")
