"""Arguments of transformers' `generate` as vLLM's, which answers by them alike or not at all."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "num_beams": (1,),
    "num_return_sequences": (1,),
    "return_dict_in_generate": (False,),
    "no_repeat_ngram_size": (0,),
    "use_cache": (True,),
    "length_penalty": (1.0,),
    "early_stopping": (False,),
    "guidance_scale": (1,),
    "typical_p": (1.0,),
}
"""Arguments that vLLM has no equal for, and the values under which they do nothing."""
OF_NO_ACCOUNT = (
    "transformers_version", "_from_model_config", "use_cache", "cache_implementation", "output_attentions",
    "output_hidden_states", "output_logits", "output_scores", "max_length", "return_dict_in_generate",
)  # fmt: skip
"""What a generation_config may say that changes no answer here; max_new_tokens goes before max_length."""
FOLLOWED = (
    "max_new_tokens", "min_new_tokens", "do_sample", "temperature", "top_p", "top_k", "min_p", "repetition_penalty",
    "eos_token_id", "pad_token_id", "bos_token_id", "seed",
)  # fmt: skip
TOP_K = 50
"""Most likely tokens that transformers samples from where nothing says otherwise."""


def sampling_of(given: Mapping[str, Any], own: Any, stop: Sequence[str]) -> dict[str, Any]:
    """Arguments of vLLM's SamplingParams.

    given: arguments of `generate`, greedy unless they say do_sample. own: the checkpoint's generation_config, which
    decides what they leave open. stop: texts that an answer ends before.
    ValueError for an argument, wherever it is set, that would not be followed.
    """
    said = {**own.to_diff_dict(), **given}
    for name, value in said.items():
        if name in FOLLOWED or value is None or value in NEUTRAL.get(name, ()):
            continue
        if name in given or name not in OF_NO_ACCOUNT:
            where = "" if name in given else " in the checkpoint's generation_config"
            raise ValueError(
                f"{name} is {value!r}{where}, which vLLM does not follow; leave it out, or use engine=transformers"
            )

    seed = given.get("seed")
    if seed is not None and (type(seed) is not int or seed < 0):
        raise ValueError(f"seed is {seed!r}; give a whole number of at least 0 (vLLM takes -1 for no seed at all)")

    def effective(name: str, default: Any = None) -> Any:
        return next((value for value in (given.get(name), getattr(own, name, None)) if value is not None), default)

    sampled = bool(given.get("do_sample", False))
    ends = effective("eos_token_id", [])
    sampling: dict[str, Any] = {
        "max_tokens": effective("max_new_tokens", 20),
        "min_tokens": effective("min_new_tokens", 0),
        "repetition_penalty": effective("repetition_penalty", 1.0),
        "temperature": effective("temperature", 1.0) if sampled else 0.0,
        "stop": [text for text in stop if text] or None,
        "ignore_eos": True,  # vLLM's own is the tokenizer's; the model's own stand in stop_token_ids
        "stop_token_ids": [int(token) for token in (ends if isinstance(ends, (list, tuple)) else [ends])],
    }
    if sampled:
        sampling["top_p"] = effective("top_p", 1.0)
        sampling["top_k"] = effective("top_k", TOP_K)
        sampling["min_p"] = effective("min_p", 0.0)
    return sampling
