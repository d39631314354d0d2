"""Tiny models in transformers and in vLLM side by side, in a process of their own, and what tests ask of both.

vLLM changes the process that it runs in (threads, distributed groups), so tests hand their questions over to another.
Heads are of width 32, the smallest that vLLM's attention has on a CPU.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from PIL import Image
from transformers import AutoModelForImageTextToText

import vlmguard_plugin as vg
from helpers.architectures import QWEN2_5_TOWER, QWEN2_TOWER, QWEN3_TOWER, qwen_vl
from helpers.guard_rows import firing
from helpers.tiny_models import randomised, tiny_llava, tiny_processor
from vlmguard_plugin.query import Turn

TOKENS = 10
"""Of an answer."""
QWENS = {
    "qwen2_vl": ("Qwen2VL", QWEN2_TOWER),
    "qwen2_5_vl": ("Qwen2_5_VL", QWEN2_5_TOWER),
    "qwen3_vl": ("Qwen3VL", QWEN3_TOWER),
}


def tiny(name):
    """A random model and its processor."""
    if name == "llava":
        return tiny_llava(width=64, heads=2), tiny_processor()
    family, tower = QWENS[name]
    config, processor = qwen_vl(family, **{**tower, **({"out_hidden_size": 64} if "out_hidden_size" in tower else {})})
    text = config.get_text_config()
    text.hidden_size, text.num_attention_heads, text.num_key_value_heads, text.head_dim = 64, 2, 2, 32
    text.rope_parameters = {"rope_type": "default", "mrope_section": [8, 4, 4], "rope_theta": 10000.0}
    text.vocab_size = len(processor.tokenizer.get_vocab())
    if name == "qwen2_vl":
        config.vision_config.hidden_size = 64
    return randomised(AutoModelForImageTextToText.from_config(config)), processor


@cache
def folder_of(name):
    """The folder of a tiny checkpoint."""
    return saved(name, tiny(name))


def saved(name, model_and_processor):
    """The new folder that a model and its processor are saved into."""
    folder = mkdtemp(prefix=f"vlmguard-{name}-")
    for part in model_and_processor:
        part.save_pretrained(folder)
    return folder


@cache
def both(name="llava", eager=True, blocks=256, workers=1):
    """The model in transformers and in vLLM. blocks: of vLLM's KV cache. workers: that share each layer."""
    from vlmguard_plugin.engines.vllm.subject import VLLMSubject

    folder = folder_of(name)
    model, processor = tiny(name)
    there = vg.HuggingFaceSubject(AutoModelForImageTextToText.from_pretrained(folder).eval(), processor, batch_size=4)
    options = {"enforce_eager": eager, "num_gpu_blocks_override": blocks, "tensor_parallel_size": workers}
    return there, VLLMSubject(folder, dtype="float32", **options)


def asked(count=8):
    """Requests with no picture, one and two, of many lengths, and one that ends a conversation."""
    red, tall = Image.new("RGB", (40, 30), "red"), Image.new("RGB", (60, 90), "blue")
    turns = (Turn("user", (("text", "What is a cake?"),)), Turn("assistant", (("text", "Food."),)))
    kinds = [
        vg.Query("What is this?", (red,)),
        vg.Query("Just a text"),
        vg.Query("And a much longer question about that there", (tall,)),
        vg.Query("Two of them", (red, tall)),
        vg.Query("And with cream?", history=turns),
    ]
    return [vg.Query(f"{query.text}{'!' * (n // 5)}", query.images, history=query.history)
            for n, query in ((n, kinds[n % 5]) for n in range(count))]  # fmt: skip


@cache
def anchors_file():
    """Of eight short pairs, enough for a fit on a tiny model."""
    nouns = ["cake", "kite", "boat", "lamp", "chair", "song", "fence", "letter"]
    path = Path(mkdtemp()) / "anchors.csv"
    path.write_text("harmful,harmless\n" + "".join(f"How to steal a {n}?,How to make a {n} at home?\n" for n in nouns))
    return str(path)


def anchors():
    return vg.load_anchors(anchors_file())


@cache
def fitted(model, name, settings):
    """A guard fitted in transformers. settings: as JSON."""
    return firing(vg.build_guard(name, **json.loads(settings)).fit(both(model)[0], anchors()))
