"""Guards against an independent numpy statement of their maths, and one matrix of habits for all of them."""

import json

import numpy as np
import pytest
import torch
from conftest import tiny_llava, tiny_processor
from reference import (
    cmrm_shift,
    cosine,
    layer_states,
    nullsteer_push,
    refusal_direction,
    tbop_directions,
    vlm_guard_directions,
    vlm_guard_edit,
)
from test_steering import full_states, hook_counts

import vlmguard_plugin as vg

EVERY_GUARD = [
    ("vlm_guard", {"rank": 2, "gate": "zero", "project": True, "layers": [1, 2]}),
    ("vlm_guard", {"rank": 1, "gate": "midpoint", "project": True, "alpha": 0.0, "layers": [2]}),
    ("cmrm", {"layers": [1, 2]}),
    ("cmrm", {"estimator": "pca", "image": "noise", "layers": [2]}),
    ("cmrm_sample", {"layers": [1]}),
    ("shiftdc", {"layers": [1, 2], "caption_tokens": 3}),
    ("refusal_direction", {"layers": [1]}),
    ("refusal_direction", {"layers": [2], "condition": True, "condition_layer": 1, "theta": -0.99}),
    ("tbop", {"rank": 2, "layers": [2]}),
    ("nullsteer", {"layers": [1]}),
]


@pytest.fixture
def asked(pictures):
    return [
        vg.Query("What is this?", images=(pictures[0],)),
        vg.Query("Just a text"),
        vg.Query("And a much longer question about that there", images=(pictures[2],)),
    ]


def unit_tests_states(subject, texts):
    """Raw states of text-only requests, all but the last layer (which the model reports normalised)."""
    return layer_states(subject, [vg.Query(text) for text in texts])[:, :-1]


@pytest.mark.parametrize("layers, width, heads, family", [(4, 32, 4, "llama"), (3, 48, 2, "qwen2")])
def test_vlm_guard_is_fitted_as_defined(layers, width, heads, family, anchors):
    subject = vg.HuggingFaceSubject(tiny_llava(layers, width, heads, family=family), tiny_processor(), batch_size=3)
    guard = vg.build_guard("vlm_guard", rank=2, gate="midpoint").fit(subject, anchors)
    assert guard.tensors["directions"].shape == (layers, 2, width)
    assert guard.tensors["singular_values"].shape == (layers, min(len(anchors.pairs), width))
    assert all(tensor.dtype == torch.float32 for tensor in guard.tensors.values())
    harmful, harmless = unit_tests_states(subject, anchors.harmful), unit_tests_states(subject, anchors.harmless)
    for layer in range(layers - 1):
        directions, singular = vlm_guard_directions(harmful[:, layer], harmless[:, layer], 2)
        np.testing.assert_allclose(guard.tensors["directions"][layer].numpy(), directions, atol=2e-3)
        np.testing.assert_allclose(guard.tensors["singular_values"][layer].numpy(), singular, rtol=1e-3, atol=1e-4)
        projections = [states[:, layer] @ directions[0] for states in (harmful, harmless)]
        midpoint = (projections[0].mean() + projections[1].mean()) / 2
        np.testing.assert_allclose(float(guard.tensors["midpoint"][layer]), midpoint, atol=2e-3)
        fired = [(p > guard.tensors["midpoint"][layer].item()).mean() for p in projections]
        facts = guard.facts["per_layer"]
        np.testing.assert_allclose(
            [facts["gate_rate_harmful_anchors"][layer], facts["gate_rate_harmless_anchors"][layer]], fired, atol=1e-6
        )


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 2e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    "gate, project, alpha, rank",
    [("zero", False, 1.0, 1), ("midpoint", False, 1.5, 2), ("midpoint", True, 0.8, 2), ("zero", True, 0.0, 3)],
)
def test_vlm_guard_edits_as_defined(anchors, dtype, tolerance, side, gate, project, alpha, rank):
    subject = vg.HuggingFaceSubject(tiny_llava(dtype=dtype), tiny_processor(), batch_size=4)
    guard = vg.build_guard("vlm_guard", rank=rank, alpha=alpha, gate=gate, project=project, layers=[1], positions="all")
    guard.fit(subject, anchors)
    texts = anchors.harmful[:3] + anchors.harmless[:3] + ["x"]
    prompts = [subject.prompt(vg.Query(text)) for text in texts]
    inputs = subject.processor.tokenizer(prompts, padding=True, padding_side=side, return_tensors="pt")
    mask = inputs["attention_mask"].bool().numpy()
    plain = full_states(subject, inputs)[1].float().numpy()
    edited = full_states(subject, inputs, guard.edits(subject, None))[1].float().numpy()
    directions = guard.tensors["directions"][1].numpy()
    threshold = guard.tensors["midpoint"][1].item() if gate == "midpoint" else 0.0
    gates = []
    for row in range(len(texts)):
        last = plain[row, np.flatnonzero(mask[row])[-1]]
        gates.append(bool(last @ directions[0] > threshold))
        expected = vlm_guard_edit(plain[row], last, directions, alpha, threshold, project)
        np.testing.assert_allclose(edited[row][mask[row]], expected[mask[row]], atol=tolerance, rtol=tolerance)
        np.testing.assert_array_equal(edited[row][~mask[row]], plain[row][~mask[row]])
    if gate == "midpoint":
        assert len(set(gates)) == 2, "the gate must differ between rows for this test to mean anything"


@pytest.mark.parametrize("estimator", ["mean", "pca"])
@pytest.mark.parametrize("image", ["blank", "white", "black", "noise"])
def test_cmrm_is_fitted_as_defined(subject, anchors, estimator, image):
    guard = vg.build_guard("cmrm", estimator=estimator, image=image).fit(subject, anchors)
    texts = [vg.Query(text) for text in anchors.harmful + anchors.harmless]
    text = layer_states(subject, texts)
    blank = layer_states(subject, [query.with_blank_images(image) for query in texts])
    assert guard.tensors["shift"].shape == (subject.num_layers, subject.hidden_size)
    for layer in range(subject.num_layers - 1):
        expected = cmrm_shift(blank[:, layer], text[:, layer], estimator)
        np.testing.assert_allclose(guard.tensors["shift"][layer].numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("level", ["dataset", "sample"])
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 5e-5), (torch.bfloat16, 5e-2)])
def test_cmrm_edits_as_defined(anchors, asked, level, dtype, tolerance):
    subject = vg.HuggingFaceSubject(tiny_llava(dtype=dtype), tiny_processor(), batch_size=4)
    guard = vg.build_guard("cmrm", level=level, alpha=0.6, layers=[2], positions="last").fit(subject, anchors)
    plain = subject.record(asked)
    for index, query in enumerate(asked):
        with guard.on(subject, [query]):
            edited = subject.record([query])[0]
        if not query.images:
            torch.testing.assert_close(edited, plain[index], atol=tolerance, rtol=0)
            continue
        if level == "dataset":
            shift = guard.tensors["shift"][2].numpy()
        else:
            blank, text = (
                subject.record([q])[0, 2].numpy() for q in (query.with_blank_images(), query.without_images())
            )
            shift = blank - text
        np.testing.assert_allclose(
            edited[2].numpy(), plain[index, 2].numpy() - 0.6 * shift, atol=tolerance, rtol=tolerance
        )
        torch.testing.assert_close(edited[:2], plain[index, :2], atol=tolerance, rtol=0)


def test_sample_level_pulls_a_blank_image_all_the_way_back(subject, anchors):
    """With the meaningless image itself as image and alpha 1, the last layer's state is the text's."""
    query = vg.Query("What is this?").with_blank_images()
    guard = vg.build_guard("cmrm_sample", alpha=1.0, layers=[3], positions="last").fit(subject, anchors)
    with guard.on(subject, [query]):
        edited = subject.record([query])
    torch.testing.assert_close(edited[:, 3], subject.record([query.without_images()])[:, 3], atol=1e-4, rtol=0)


def test_refusal_direction_and_shiftdc_are_fitted_as_defined(subject, anchors):
    guard = vg.build_guard("refusal_direction").fit(subject, anchors)
    safety = vg.build_guard("shiftdc").fit(subject, anchors).tensors["safety_direction"]
    torch.testing.assert_close(safety, -guard.tensors["direction"])
    harmful, harmless = unit_tests_states(subject, anchors.harmful), unit_tests_states(subject, anchors.harmless)
    for layer in range(subject.num_layers - 1):
        direction, theta = refusal_direction(harmful[:, layer], harmless[:, layer])
        np.testing.assert_allclose(guard.tensors["direction"][layer].numpy(), direction, atol=2e-4)
        np.testing.assert_allclose(float(guard.tensors["theta"][layer]), theta, atol=1e-3)


def test_condition_looks_at_its_own_layer(subject, anchors):
    """The gate of an edit at layer 3 is decided by the state at layer 1."""
    guard = vg.build_guard("refusal_direction", layers=[3], condition=True, condition_layer=1, positions="last").fit(
        subject, anchors
    )
    queries = [vg.Query(text) for text in anchors.harmful + anchors.harmless]
    plain = subject.record(queries)
    with guard.on(subject):
        edited = subject.record(queries)
    direction, theta = guard.tensors["direction"][1].numpy(), float(guard.tensors["theta"][1])
    fires = [cosine(state.numpy(), direction) > theta for state in plain[:, 1]]
    assert len(set(fires)) == 2
    assert [bool(moved > 1e-4) for moved in (edited - plain)[:, 3].abs().amax(dim=1)] == fires
    with pytest.raises(ValueError, match="behind the first edited layer 0"):
        vg.build_guard("refusal_direction", layers=[0], condition=True, condition_layer=1).fit(subject, anchors).edits(
            subject, None
        )


@pytest.mark.parametrize("image", ["blank", "noise"])
def test_tbop_is_fitted_as_defined(subject, anchors, image):
    guard = vg.build_guard("tbop", rank=3, image=image).fit(subject, anchors)
    queries = [vg.Query(text) for text in anchors.harmful + anchors.harmless]
    text, blank = (
        layer_states(subject, queries),
        layer_states(subject, [query.with_blank_images(image) for query in queries]),
    )
    for layer in range(subject.num_layers - 1):
        rows, expected = guard.tensors["directions"][layer].numpy(), tbop_directions(blank[:, layer], text[:, layer], 3)
        np.testing.assert_allclose(rows.T @ rows, expected.T @ expected, atol=2e-3)


@pytest.mark.parametrize("rank", [None, 5])
def test_nullsteer_is_the_least_squares_map_off_the_benign_states(subject, anchors, rank):
    guard = vg.build_guard("nullsteer", rank=rank).fit(subject, anchors)
    states = {}
    for side in ("harmful", "harmless"):
        queries = [vg.Query(text) for text in getattr(anchors, side)]
        states[side] = np.concatenate(
            [subject.record(queries).numpy(), subject.record([query.with_blank_images() for query in queries]).numpy()]
        )
    for layer in range(subject.num_layers):
        push = nullsteer_push(states["harmful"][:, layer], states["harmless"][:, layer], rank or 16)
        fitted = np.outer(guard.tensors["refusal_direction"][layer].numpy(), guard.tensors["probe"][layer].numpy())
        np.testing.assert_allclose(fitted, push, atol=2e-3 * np.abs(push).max())
    if rank is None:  # 16 benign states of width 32 span 16 directions: none of them is changed
        benign = [vg.Query(text) for text in anchors.harmless]
        with guard.on(subject):
            moved = subject.record(benign)
        torch.testing.assert_close(moved, subject.record(benign), atol=2e-3, rtol=0)
    with pytest.raises(ValueError, match="rank is 99"):
        vg.build_guard("nullsteer", rank=99).fit(subject, anchors)


@pytest.mark.parametrize("name, settings", EVERY_GUARD)
class TestEveryGuard:
    def fitted(self, name, settings, subject, anchors):
        return vg.build_guard(name, **settings).fit(subject, anchors)

    def test_a_batch_answers_as_one_at_a_time(self, name, settings, subject, anchors, asked):
        guard = self.fitted(name, settings, subject, anchors)
        together = guard.respond(subject, asked, max_new_tokens=6)
        assert together == [guard.respond(subject, [query], max_new_tokens=6)[0] for query in asked]

    def test_it_changes_something_and_leaves_nothing(self, name, settings, subject, anchors, asked):
        guard = self.fitted(name, settings, subject, anchors)
        before, hooks = subject.record(asked), hook_counts(subject)
        with guard.on(subject, asked[:1]):
            inside = subject.record(asked[:1])
        assert (inside - before[:1]).abs().max() > 1e-3
        assert hook_counts(subject) == hooks
        torch.testing.assert_close(subject.record(asked), before, atol=0, rtol=0)

    def test_saved_and_loaded_it_answers_the_same(self, name, settings, subject, anchors, asked, tmp_path):
        guard = self.fitted(name, settings, subject, anchors)
        guard.save(tmp_path / "guard")
        loaded = vg.load_guard(tmp_path / "guard", subject)
        assert loaded.respond(subject, asked, max_new_tokens=6) == guard.respond(subject, asked, max_new_tokens=6)
        kept = json.loads((tmp_path / "guard" / "guard.json").read_text())
        assert kept["guard"] == name and kept["settings"]["layers"] == settings["layers"]
        assert kept["model"]["fingerprint"] == subject.fingerprint
        assert kept["anchors"]["sha256"] == anchors.sha256 and set(kept["versions"]) == {
            "vlmguard_plugin",
            "torch",
            "transformers",
        }

    def test_another_model_is_refused(self, name, settings, subject, anchors, tmp_path):
        guard = self.fitted(name, settings, subject, anchors)
        guard.save(tmp_path / "guard")
        others = {
            "model fingerprint": tiny_llava(seed=7),
            "hidden size": tiny_llava(width=48),
            "number of decoder layers": tiny_llava(layers=5),
        }
        for what, model in others.items():
            other = vg.HuggingFaceSubject(model, tiny_processor())
            with pytest.raises(vg.WrongModel, match=what) as refused:
                vg.load_guard(tmp_path / "guard", other)
            if what == "model fingerprint":
                assert subject.fingerprint in str(refused.value) and other.fingerprint in str(refused.value)
        with pytest.raises(vg.WrongModel):
            guard.respond(vg.HuggingFaceSubject(others["hidden size"], tiny_processor()), [vg.Query("Hi")])

    def test_unfitted_it_says_so(self, name, settings, subject, tmp_path):
        guard = vg.build_guard(name, **settings)
        for use in (lambda: guard.respond(subject, [vg.Query("Hi")]), lambda: guard.save(tmp_path / "guard")):
            with pytest.raises(vg.GuardNotFitted, match="not fitted"):
                use()

    def test_it_guards_the_models_own_generate(self, name, settings, subject, anchors, asked):
        guard = self.fitted(name, settings, subject, anchors)
        inputs = subject.encode(asked[:1])
        with guard.on(subject, asked[:1]), torch.no_grad():
            tokens = subject.model.generate(**inputs, do_sample=False, max_new_tokens=6)
        text = subject.processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert [text.strip()] == guard.respond(subject, asked[:1], max_new_tokens=6)


def test_the_gate_is_each_rows_own(subject, anchors):
    guard = vg.build_guard("vlm_guard", gate="midpoint", layers=[2], positions="last").fit(subject, anchors)
    requests = [vg.Query(text) for text in anchors.harmful + anchors.harmless]
    plain = subject.record(requests)[:, 2]
    with guard.on(subject):
        edited = subject.record(requests)[:, 2]
    fires = (plain @ guard.tensors["directions"][2, 0] > guard.tensors["midpoint"][2]).numpy()
    assert 0 < fires.sum() < len(fires)
    changed = ((edited - plain).abs().amax(dim=1) > 1e-5).numpy()
    np.testing.assert_array_equal(changed, fires)


def test_sample_level_needs_the_query(subject, anchors):
    guard = vg.build_guard("cmrm_sample").fit(subject, anchors)
    with pytest.raises(ValueError, match=r"guard.on\(subject, queries\)"):
        with guard.on(subject):
            pass


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("no_such_guard", {}, "there are adashield, cmrm, cmrm_sample"),
        ("vlm_guard", {"strength": 2}, "no setting 'strength'"),
        ("vlm_guard", {"rank": 0}, "rank is 0"),
        ("vlm_guard", {"gate": "half"}, "gate is 'half'"),
        ("vlm_guard", {"layers": [-1]}, r"layers is \[-1\]"),
        ("vlm_guard", {"layers": []}, r"layers is \[\]"),
        ("vlm_guard", {"alpha": float("nan")}, "alpha is nan"),
        ("vlm_guard", {"positions": "first"}, "positions is 'first'"),
        ("vlm_guard", {"project": "yes"}, "project is 'yes'"),
        ("cmrm", {"estimator": "median"}, "estimator is 'median'"),
        ("cmrm", {"level": "token"}, "level is 'token'"),
        ("cmrm", {"image": "cat"}, "kind is 'cat'"),
    ],
)
def test_bad_settings_are_named(name, settings, message):
    with pytest.raises(ValueError, match=message):
        vg.build_guard(name, **settings)


def test_what_does_not_suit_the_model_is_refused_before_any_work(subject, anchors):
    with pytest.raises(ValueError, match="beyond the model's 4 decoder layers"):
        vg.build_guard("cmrm", layers=[4]).fit(subject, anchors)
    with pytest.raises(ValueError, match="rank is 9 but 8 anchor differences"):
        vg.build_guard("vlm_guard", rank=9).fit(subject, anchors)


class TestDamagedFolders:
    @pytest.fixture
    def folder(self, subject, anchors, tmp_path):
        vg.build_guard("cmrm").fit(subject, anchors).save(tmp_path / "guard")
        return tmp_path / "guard"

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="guard.json"):
            vg.load_guard(tmp_path)

    @pytest.mark.parametrize("name", ["guard.json", "guard.safetensors"])
    @pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
    def test_damaged_files(self, folder, name, damage):
        data = bytearray((folder / name).read_bytes())
        if damage == "flipped":
            if name == "guard.json":
                data = data.replace(b'"tensors_sha256": "', b'"tensors_sha256": "0')
            else:
                data[-1] ^= 1
        (folder / name).write_bytes({"cut": data[: len(data) // 2], "empty": b"", "flipped": data}[damage])
        with pytest.raises(vg.DamagedGuard, match=name):
            vg.load_guard(folder)

    def test_settings_of_another_guard(self, folder):
        facts = json.loads((folder / "guard.json").read_text())
        facts["settings"]["rank"] = 2
        (folder / "guard.json").write_text(json.dumps(facts))
        with pytest.raises(vg.DamagedGuard, match="no setting 'rank'"):
            vg.load_guard(folder)
