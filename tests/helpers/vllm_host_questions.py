"""What tests ask of VLMEvalKit's classes on vLLM. It runs in the engines' process and gives plain data."""

from __future__ import annotations

import contextlib
import io
import os
from functools import cache, partial
from tempfile import mkdtemp

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText

import vlmguard_plugin as vg
from helpers.architectures import BUILDERS
from helpers.tiny_models import TEMPLATE, randomised
from helpers.vllm_models import TOKENS, anchors, anchors_file, saved, tiny
from vlmguard_plugin.guards.core.gates_heard import hearing_gates
from vlmguard_plugin.steering.edit import Edits

SETTINGS = {"rank": 2, "layers": [1, 2], "gate": "midpoint", "project": True}
CLASSES = {
    "qwen2_vl": ("Tiny-Qwen2-VL", "Qwen2VLChat", "<|vision_start|><|image_pad|><|vision_end|>"),
    "qwen3_vl": ("Tiny-Qwen3-VL", "Qwen3VLChat", "<|vision_start|><|image_pad|><|vision_end|>"),
    "gemma3": ("Tiny-Gemma3", "Gemma3", "<start_of_image>"),
}
"""By architecture: a name for the host's table, the host's class, and what stands for a picture in a prompt."""
ENGINE = {"dtype": "float32", "num_gpu_blocks_override": 350}
GREEDY = {"Qwen3VLChat": {"temperature": 0.0, "presence_penalty": 0.0}}


def wide(name):
    """A random model with heads that vLLM can do and room for the lengths that the classes ask for; always the same."""
    torch.manual_seed(0)
    if name == "gemma3":
        config, processor = BUILDERS[name]()
        processor.tokenizer.add_tokens(["\n" * count for count in (1, 2, 3, 4)])  # which vLLM looks up
        text = config.get_text_config()
        text.hidden_size, text.num_attention_heads, text.num_key_value_heads, text.head_dim = 64, 2, 2, 32
        text.query_pre_attn_scalar, text.vocab_size = 32, len(processor.tokenizer.get_vocab())
        config.tie_word_embeddings = text.tie_word_embeddings = False  # tied and random, it says its last word again
        model = randomised(AutoModelForImageTextToText.from_config(config))
    else:
        model, processor = tiny(name)
    model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False
    model.config.get_text_config().max_position_embeddings = 40960
    unreadable = [
        number for token, number in processor.tokenizer.get_vocab().items() if not token.isascii() or token[1:]
    ]
    with torch.no_grad():  # it says printable ASCII alone, and no end: texts are then equal where tokens are
        model.get_output_embeddings().weight[unreadable] = 0
    processor.chat_template = TEMPLATE.replace("<image>\n", CLASSES[name][2])
    return model, processor


@cache
def checkpoint(name):
    """The folder of a tiny checkpoint for a class."""
    return saved(name, wide(name))


def register(name):
    """Put a tiny entry of a class into the host's table, as the host has its own; its name there."""
    import vlmeval.vlm
    import vlmeval.vlm.qwen2_vl.model as qwen2
    import vlmeval.vlm.qwen3_vl.model as qwen3
    from vlmeval.config import supported_VLM

    for module in (qwen2, qwen3):
        module.get_gpu_memory = lambda: [80_000]  # which the classes assert before they load anything
    entry, kind, _ = CLASSES[name]
    arguments = {**GREEDY.get(kind, {}), **({"use_vllm": True} if name == "qwen3_vl" else {})}
    length = {"max_new_tokens": TOKENS}
    supported_VLM[entry] = partial(getattr(vlmeval.vlm, kind), model_path=checkpoint(name), **length, **arguments)
    return entry


@cache
def guarded(name, guard="vlm_guard"):
    """A guarded model of the host's, as its table gives it, and what was said meanwhile on stderr."""
    from vlmguard_plugin.hosts.vlmeval.wrapped import GuardedHost

    flag = None if name == "qwen3_vl" else True  # whose entry forces it
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        host = GuardedHost(register(name), guard, anchors=anchors_file(), use_vllm=flag, **ENGINE, **SETTINGS)
    return host, said.getvalue()


@cache
def pictures():
    """Files of a few pictures."""
    folder = mkdtemp()
    for number, size in enumerate(((56, 84), (84, 56), (56, 56))):
        Image.linear_gradient("L").rotate(60 * number).resize(size).convert("RGB").save(f"{folder}/{number}.png")
    return [f"{folder}/{number}.png" for number in range(3)]


def messages():
    """The host's, of several lengths, beside a picture and not."""
    asked = []
    for number, file in enumerate([*pictures(), None] * 2):
        words = {"type": "text", "value": f"What is this?{' Say it in full.' * (number % 3)}"}
        asked.append([{"type": "image", "value": file}, words] if file else [words])
    return asked


def answers(name):
    """To `messages`, by the host's `generate` one by one and together; by its class in the same engine without a guard;
    and what transformers gives to the same prompts, guarded by the same fit, and not.
    """
    host, said = guarded(name)
    asked, subject = messages(), host.subject
    queries = [subject.query(message) for message in asked]
    there = vg.HuggingFaceSubject(AutoModelForImageTextToText.from_pretrained(checkpoint(name)).eval(), wide(name)[1])
    prompts = [subject._call_of(query).prompts[0]["prompt"] for query in queries]
    folder = os.path.join(mkdtemp(), "guard")
    host.guard.save(folder)
    fitted = vg.load_guard(folder, there)
    subject.batch_size = 8
    given = {
        "one by one": [host.generate(message, "FigStep") for message in asked],
        "together": [answered.text for answered in host.answers(queries, "FigStep", by_chat=False)],
        "unguarded": subject.generate(queries),
        "unguarded, transformers": there.generate(queries, max_new_tokens=TOKENS),
        "transformers": fitted.respond(there, queries, max_new_tokens=TOKENS),
    }
    facts = host.run_facts("its name")
    own, other = subject.record(queries), there.record(queries)
    return {
        "prompts are alike": prompts == [there.prompt(query) for query in queries],
        "states differ by": ((own - other).abs().amax((1, 2)) / other.abs().amax((1, 2))).tolist(),
        "fingerprints": (facts.fingerprint, there.fingerprint),
        "facts": (facts.engine, facts.guard, facts.dtype, "vllm" in facts.versions, facts.guard_fingerprint),
        "fitted": host.guard.fingerprint,
        "said": said,
        "alone": subject.batches.alone,
        **{by: [text.strip() for text in texts] for by, texts in given.items()},
    }


@cache
def class_alone(name):
    """The host's object by itself, in an engine that this package has not made; it stays, for an engine of vLLM's that
    goes takes what others in its process stand on.
    """
    import vllm
    from vlmeval.config import supported_VLM

    entry = register(name)
    small = {"dtype": "float32", "enforce_eager": True, "kv_cache_memory_bytes": 2**28}
    own, vllm.LLM = vllm.LLM, lambda **named: own(**{**named, **small})
    try:
        return supported_VLM[entry](use_vllm=True)
    finally:
        del vllm.LLM


def answers_alone(name):
    """What that object gives to messages with pictures."""
    model = class_alone(name)
    return [model.generate(message, "FigStep").strip() for message in messages() if len(message) == 2]


def answers_under(name, guard, settings):
    """Unguarded answers, guarded ones, those of transformers under the same fit, which is the class's engine's; and
    which requests its gate fired on in both.
    """
    host, _ = guarded(name)
    subject, folder = host.subject, os.path.join(mkdtemp(), "guard")
    there = vg.HuggingFaceSubject(AutoModelForImageTextToText.from_pretrained(checkpoint(name)).eval(), wide(name)[1])
    queries = [subject.query(message) for message in messages()]
    built = vg.build_guard(guard, **settings)
    if built.needs_fit:
        built.fit(subject, anchors()).save(folder)
    loaded = vg.load_guard(folder, there) if built.needs_fit else built
    told, fired = [subject.generate(queries)], []
    for each, own in ((subject, built), (there, loaded)):
        with hearing_gates(queries) as heard:
            told.append(own.respond(each, queries, max_new_tokens=TOKENS))
        fired.append(heard.fired)
    return *([text.strip() for text in texts] for texts in told), *fired


class Broken:
    """An edit that is not finite."""

    def decide(self, last, prompts):
        return last * float("inf")

    def apply(self, hidden, decision):
        return hidden + decision


class Breaking(Broken):
    """An edit with an error in it."""

    def decide(self, last, prompts):
        raise IndexError("of a guard")


def what_goes_wrong(name):
    """What is said of edits that fail, of a request past `generate`, and of several prompts at once; and whether the
    answers are then what they were.
    """
    host, _ = guarded(name)
    subject, engine = host.subject, host.subject.host_engine
    query = subject.query(messages()[0])
    before = subject.generate([query])
    own = host.host_model.generate

    def asking(ask):
        host.host_model.generate = lambda message, dataset=None: ask(own, message)
        try:
            host.generate(messages()[0])
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        finally:
            del host.host_model.generate

    def swallowed(ask, message):
        try:
            return ask(message)
        except Exception:
            return "Failed to obtain answer."

    with subject.editing(Edits({1: Broken()})):
        not_finite = asking(swallowed)
    with subject.editing(Edits({1: Breaking()})):
        breaks = asking(swallowed)
    told = {
        "not finite": not_finite,
        "breaks": breaks,
        "not asked": asking(lambda ask, message: "I know"),
        "past generate": asking(lambda ask, message: engine.chat([{"role": "user", "content": "x"}])),
        "several": asking(lambda ask, message: engine.generate(["x", "y"])),
    }
    return told, before == subject.generate([query])
