"""Guards against an independent numpy statement of their maths, and one matrix of habits for all of them."""

import json

import pytest
import torch
from helpers.steering import hook_counts
from helpers.tiny_models import tiny_llava, tiny_processor

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
