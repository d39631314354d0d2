"""What guards compute together, against passes over whole sequences with hooks of the test's own."""

import numpy as np
import pytest
import torch
from helpers.architectures import tiny_vlm

import vlmguard_plugin as vg

TOKENS = 4
SETTINGS = {
    "refusal_direction": {"layers": [1, 2], "alpha": 2.0, "positions": "all"},
    "tbop": {"layers": [2], "rank": 2, "alpha": 0.9},
    "cmrm": {"layers": [1, 2], "alpha": 1.5, "positions": "all"},
    "coca": {"alpha": 1.5},
    "self_reminder": {},
    "adashield": {},
}
WORDING = ("coca", "self_reminder", "adashield")


def edited(part, layer, hidden, has_image):
    """A layer's states [1, tokens, d] as one guard leaves them."""
    own = part.settings
    if part.name in WORDING or layer not in own.layers or (part.name == "cmrm" and not has_image):
        return hidden
    if part.name == "tbop":
        rows = part.tensors["directions"][layer]
        return hidden - own.alpha * (hidden @ rows.T) @ rows
    added = part.tensors["direction"][layer] if part.name == "refusal_direction" else -part.tensors["shift"][layer]
    return hidden + own.alpha * added


def next_logits(subject, query, said, parts):
    """Of the token behind prompt and answer so far, in one pass over both."""
    inputs = dict(subject.encode([query]))
    if said:
        for name, row in (("input_ids", said), ("attention_mask", [1] * len(said))):
            inputs[name] = torch.cat([inputs[name], torch.tensor([row])], dim=1)
        if "mm_token_type_ids" in inputs:
            inputs["mm_token_type_ids"] = torch.nn.functional.pad(inputs["mm_token_type_ids"], (0, len(said)))

    def hook(layer):
        def behind(module, args, output):
            hidden = output[0] if isinstance(output, tuple) else output
            for part in parts:
                hidden = edited(part, layer, hidden, bool(query.all_images))
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        return behind

    hooks = [module.register_forward_hook(hook(layer)) for layer, module in enumerate(subject.decoder.layers)]
    with torch.no_grad():
        logits = subject.model(**inputs, use_cache=False).logits[0, -1].numpy()
    for put in hooks:
        put.remove()
    return logits


def stated(subject, guard, query):
    """The answer to a query: words in the order named, edits in the order named, then the contrast."""
    worded, plain, said = query, query, []
    for part in guard.parts:
        if part.name in WORDING:
            before, after = part.template.split("{query}")
            worded = worded.wrapped(before, after)
            plain = plain if part.name == "coca" else plain.wrapped(before, after)
    alphas = [part.settings.alpha for part in guard.parts if part.name == "coca"]
    for _ in range(TOKENS):
        logits = next_logits(subject, worded, said, guard.parts)
        for alpha in alphas:
            logits = logits + alpha * (logits - next_logits(subject, plain, said, guard.parts))
        logits[subject.model.generation_config.suppress_tokens or []] = -np.inf
        said.append(int(logits.argmax()))
    return subject.processor.tokenizer.decode(said, skip_special_tokens=True).strip()


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llava", "qwen2_5_vl", "internvl"])
@pytest.mark.parametrize(
    "name",
    [
        "refusal_direction+tbop",
        "tbop+refusal_direction",
        "cmrm+tbop+self_reminder",
        "cmrm+coca+refusal_direction",
        "self_reminder+coca+tbop",
        "coca+self_reminder",
    ],
)
def test_together_they_compute_what_they_say(architecture, name, anchors, asked, tmp_path):
    model, processor = tiny_vlm(architecture)
    subject = vg.HuggingFaceSubject(model, processor, batch_size=4)
    guard = vg.build_guard(name, **{part: SETTINGS[part] for part in name.split("+")}).fit(subject, anchors)
    expected = [stated(subject, guard, query) for query in asked]
    assert guard.respond(subject, asked, max_new_tokens=TOKENS) == expected
    assert expected != subject.generate(asked, max_new_tokens=TOKENS)
    guard.save(tmp_path / "guard")
    assert vg.load_guard(tmp_path / "guard").respond(subject, asked, max_new_tokens=TOKENS) == expected
    guard.push(tmp_path / "shared")
    pulled = vg.load_guard(tmp_path / "shared", subject)
    assert pulled.fingerprint == guard.fingerprint
    assert [pulled.respond(subject, [query], max_new_tokens=TOKENS)[0] for query in asked] == expected
