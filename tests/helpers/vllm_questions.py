"""What tests ask of a tiny model in transformers and in vLLM. It runs in the engines' process and gives plain data."""

from __future__ import annotations

import json
import os
from tempfile import mkdtemp

import torch

import vlmguard_plugin as vg
from helpers.guard_rows import settings_with
from helpers.vllm_models import TOKENS, anchors, asked, both, fitted, folder_of
from vlmguard_plugin.guards.core.gates_heard import hearing_gates
from vlmguard_plugin.steering.edit import Edits

ANSWERS = ["food", "x", " a nice one", "of wood", "?", "food", "yes", "no"]


def guard_of(model, name, settings, picture=""):
    settings = settings_with(settings, picture)
    return fitted(model, name, json.dumps(settings, sort_keys=True))


def states(model, eager=True):
    """The largest difference of recorded states, as a share of the largest state, and of normalised last ones."""
    there, here = both(model, eager)
    own, other = there.record(asked()), here.record(asked())
    ends = there.normalised(own[:, -1]) - here.normalised(own[:, -1])
    return float((own - other).abs().max() / own.abs().max()), float(ends.abs().max())


def names(model):
    """Fingerprint and form of prompts, in transformers and in vLLM."""
    return [(subject.fingerprint, subject.prompt_form, subject.num_layers) for subject in both(model)]


def answers(model, name, settings, picture="", eager=True, **generation):
    """Unguarded answers, guarded ones, and guarded ones in vLLM."""
    there, here = both(model, eager)
    guard = guard_of(model, name, settings, picture)
    generation = {"max_new_tokens": TOKENS, **generation}
    return (
        there.generate(asked(), **generation),
        guard.respond(there, asked(), **generation),
        guard.respond(here, asked(), **generation),
    )


def refusal(name, settings):
    """What is said of a guard that vLLM can't do."""
    guard = vg.build_guard(name, **settings_with(settings, ""))
    try:
        guard.check_reach(both()[1])
    except ValueError as error:
        return str(error)


def gates(name, settings):
    """Which requests a guard's gates have fired on, in transformers and in vLLM."""
    fired = []
    for subject in both():
        guard = guard_of("llava", name, settings)
        queries = asked()
        with hearing_gates(queries) as heard:
            guard.respond(subject, queries, max_new_tokens=2)
        fired.append(heard.fired)
    return fired


def fits(name, settings):
    """The largest difference of fitted numbers, as a share of the largest; answers of both fits in transformers."""
    there, here = both()
    settings = settings_with(settings, "")
    guard, other = (vg.build_guard(name, **settings).fit(subject, anchors()) for subject in (there, here))
    folder = mkdtemp()
    other.save(folder)
    pairs = [(own, other.tensors[name]) for name, own in guard.tensors.items()]
    differences = [float((own - here).abs().max() / own.abs().max()) for own, here in pairs]
    given = [one.respond(there, asked(), max_new_tokens=TOKENS) for one in (guard, vg.load_guard(folder, there))]
    return max(differences, default=0.0), given


def likelihoods(name, settings, picture=""):
    """Of answers under a guard, in transformers and in vLLM."""
    guard = guard_of("llava", name, settings, picture)
    return [[tuple(one) for one in guard.log_likelihoods(subject, asked(), ANSWERS)] for subject in both()]


def token_likelihoods():
    """Of tokens, an image's among them, which is a word there."""
    prompts, behind = [[1, 70, 71], [1, 3, 80, 90]], [[72], [81, 82, 83]]
    guard = guard_of("llava", "vlm_guard", {"rank": 2, "layers": [1, 2]})
    return [[tuple(one) for one in guard.token_log_likelihoods(subject, prompts, behind)] for subject in both()]


def standing(name, settings):
    """States inside `guard.on`, and `is_edited` in and behind it, in transformers and in vLLM."""
    guard, told = guard_of("llava", name, settings), []
    for subject in both():
        with guard.on(subject):
            told.append((subject.record(asked(4)), subject.is_edited))
        told.append((subject.record(asked(4)), subject.is_edited))
    (inside, on), (behind, off), (inside_here, on_here), (behind_here, off_here) = told
    close = [bool(torch.allclose(a, b, atol=1e-4)) for a, b in ((inside, inside_here), (behind, behind_here))]
    return close, [on, off, on_here, off_here], bool(torch.allclose(inside, behind))


def many_at_once(count, blocks, tokens=24):
    """Answers to many requests together and one by one, under a guard. blocks: of the KV cache, 128 tokens each."""
    here = both(blocks=blocks)[1]
    guard = guard_of("llava", "vlm_guard", {"rank": 2, "layers": [1, 2], "gate": "midpoint"})
    queries = asked(count)
    together = guard.respond(here, queries, max_new_tokens=tokens)
    return together, [guard.respond(here, [query], max_new_tokens=tokens)[0] for query in queries]


def error_of(name, *given, **named):
    """What calling one of the subject's own methods raises."""
    try:
        getattr(both()[1], name)(*given, **named)
    except Exception as error:
        return type(error).__name__, str(error)


def after_an_error():
    """Answers behind a request that no engine can read."""
    here = both()[1]
    guard = guard_of("llava", "vlm_guard", {"rank": 2, "layers": [1, 2]})
    before = guard.respond(here, asked(3), max_new_tokens=4)
    said = error_of("generate", [*asked(2), vg.Query("x " * 900)], max_new_tokens=4)
    unreadable = error_of("generate", [*asked(2), vg.Query("x", ("/nowhere.png",))], max_new_tokens=4)
    return said, unreadable, before == guard.respond(here, asked(3), max_new_tokens=4)


def refused_answers(model, name, settings):
    """What is said of a guard when it is asked to answer in vLLM."""
    guard = guard_of(model, name, settings)
    try:
        guard.respond(both(model)[1], asked(), max_new_tokens=2)
    except Exception as error:
        return str(error)


class NotFinite:
    """An edit that goes wrong."""

    def decide(self, last, prompts):
        return last * float("inf")

    def apply(self, hidden, decision):
        return hidden + decision


def not_finite():
    return error_of("generate", asked(2), Edits({1: NotFinite()}), max_new_tokens=2)


def stopped():
    """Answers that end before a text, and sampled ones, drawn twice."""
    there, here = both()
    whole = there.generate(asked(3), max_new_tokens=TOKENS)
    stop = [text[len(text) // 2] for text in whole]
    return (
        there.generate(asked(3), max_new_tokens=TOKENS, stop=stop),
        here.generate(asked(3), max_new_tokens=TOKENS, stop=stop),
        [here.generate(asked(3), max_new_tokens=TOKENS, do_sample=True, seed=seed) for seed in (1, 1, 2)],
    )


def saved(name, settings):
    """Folders of the tiny checkpoint and of a guard fitted on it."""
    folder = os.path.join(mkdtemp(), "guard")
    guard_of("llava", name, settings).save(folder)
    return folder_of("llava"), folder


def with_little_memory(count):
    """As `many_at_once`, and how often vLLM has put off a request for want of memory."""
    here = both(blocks=14)[1]
    scheduler = here.llm.llm_engine.engine_core.engine_core.scheduler
    put_off, own = [], scheduler._preempt_request

    def preempt(request, *given, **named):
        put_off.append(request.request_id)
        return own(request, *given, **named)

    scheduler._preempt_request = preempt
    together, alone = many_at_once(count, 14, tokens=110)
    return together, alone, len(put_off)


def passed_by(deaf):
    """What is said where a layer runs without the operator behind it, as in a graph that was captured whole.

    deaf: the layer; None for all of them in passes of one token a request.
    """
    from vlmguard_plugin.engines.vllm import operator

    hear = operator.running

    class Deaf(list):
        def __getitem__(self, index):
            heard = super().__getitem__(index)
            return lambda layer, *halves: None if passes_by(layer, *halves) else heard(layer, *halves)

    def passes_by(layer, hidden, _):
        return layer == deaf if deaf is not None else len(hidden) == 2

    operator.running = Deaf()
    try:
        edits = guard_of("llava", "vlm_guard", {"rank": 2, "layers": [1, 2]}).edits(both()[1], None)
        return error_of("generate", asked(2), edits, max_new_tokens=2)[1]
    finally:
        operator.running = hear


def of_own_arguments():
    """What comes of arguments in a checkpoint's generation_config."""
    there, here = both()
    told = {}
    for name, value in (("no_repeat_ngram_size", 3), ("repetition_penalty", 1.4)):
        for config in (there.model.generation_config, here.generation_config):
            setattr(config, name, value)
        if name == "no_repeat_ngram_size":
            told[name] = error_of("generate", asked(2), max_new_tokens=2)[1]
        else:
            told[name] = [subject.generate(asked(), max_new_tokens=TOKENS) for subject in (there, here)]
        for config in (there.model.generation_config, here.generation_config):
            setattr(config, name, None)
    return told


def configured(saved, changed, words):
    """What is said where vLLM's options are made for a served guard that can't be right; None where nothing is."""
    from vllm.engine.arg_utils import EngineArgs

    checkpoint, guard = saved
    flags = {word.removeprefix("--").replace("-", "_"): True for word in words}
    config = {"vlmguard": {"guard": guard, "settings": changed}}
    try:
        EngineArgs(checkpoint, dtype="float32", additional_config=config, **flags).create_engine_config()
    except ValueError as error:
        return str(error)


def over_two_workers(rows):
    """Answers under guards, in transformers and over two workers of vLLM's, and the largest difference of states."""
    there, here = both(workers=2)
    told = []
    for name, settings in rows:
        guard = guard_of("llava", name, settings)
        told.append([guard.respond(subject, asked(), max_new_tokens=TOKENS) for subject in (there, here)])
    own, other = there.record(asked()), here.record(asked())
    here.close()
    return told, float((own - other).abs().max() / own.abs().max())
