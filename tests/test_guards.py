"""One matrix of habits for all guards, from the registry; and what settings and saved folders are refused."""

import json
import os
import random

import pytest
import safetensors.torch
import torch
from helpers.guard_folders import rewrite
from helpers.guard_rows import HABITS, editing_guards, other_guards, own_guards, rows, settings_with
from helpers.judging import Judging
from helpers.steering import hook_counts
from helpers.tiny_models import tiny_llava, tiny_processor

import vlmguard_plugin as vg
from vlmguard_plugin.anchors import Anchors


@pytest.fixture(scope="module")
def fits():
    """The guards that are fitted already, by row."""
    return {}


@pytest.fixture
def guard(name, settings, fits, subject, anchors, pictures):
    """The guard of one row, fitted."""
    row = name, json.dumps(settings)
    if row not in fits:
        fits[row] = vg.build_guard(name, **settings_with(settings, pictures[1])).fit(subject, anchors)
    return fits[row]


@pytest.fixture(scope="module")
def other_models():
    """Subjects that differ from the fitted one, by what the refusal must name."""
    models = {
        "model fingerprint": tiny_llava(seed=7),
        "hidden size": tiny_llava(width=48),
        "number of decoder layers": tiny_llava(layers=5),
    }
    return {what: vg.HuggingFaceSubject(model, tiny_processor()) for what, model in models.items()}


@pytest.mark.parametrize("name, settings", rows(HABITS, own_guards()))
class TestEveryGuard:
    def test_a_batch_answers_as_one_at_a_time(self, guard, subject, asked):
        together = guard.respond(subject, asked, max_new_tokens=6)
        assert together == [guard.respond(subject, [query], max_new_tokens=6)[0] for query in asked]

    def test_saved_and_loaded_it_answers_the_same(self, name, settings, guard, subject, anchors, asked, tmp_path):
        guard.save(tmp_path / "guard")
        loaded = vg.load_guard(tmp_path / "guard", subject)
        assert loaded.respond(subject, asked, max_new_tokens=6) == guard.respond(subject, asked, max_new_tokens=6)
        kept = json.loads((tmp_path / "guard" / "guard.json").read_text())
        assert kept["guard"] == name and kept["settings"].get("layers") == settings.get("layers")
        assert kept["model"]["fingerprint"] == subject.fingerprint
        assert kept["anchors"]["sha256"] == anchors.sha256
        assert set(kept["versions"]) == {"vlmguard_plugin", "torch", "transformers"}


@pytest.mark.parametrize("name, settings", rows(HABITS, editing_guards()))
class TestEveryGuardThatEdits:
    def test_it_changes_something_and_leaves_nothing(self, guard, subject, asked):
        before, hooks = subject.record(asked), hook_counts(subject)
        with guard.on(subject, asked[:1]):
            inside = subject.record(asked[:1])
        assert (inside - before[:1]).abs().max() > 1e-3
        assert hook_counts(subject) == hooks
        torch.testing.assert_close(subject.record(asked), before, atol=0, rtol=0)

    def test_another_model_is_refused(self, guard, subject, other_models, tmp_path):
        guard.save(tmp_path / "guard")
        for what, other in other_models.items():
            with pytest.raises(vg.WrongModel, match=what) as refused:
                vg.load_guard(tmp_path / "guard", other)
            if what == "model fingerprint":
                assert subject.fingerprint in str(refused.value) and other.fingerprint in str(refused.value)
        with pytest.raises(vg.WrongModel):
            guard.respond(other_models["hidden size"], [vg.Query("Hi")])

    def test_unfitted_it_says_so(self, name, settings, subject, tmp_path):
        guard = vg.build_guard(name, **settings)
        for use in (lambda: guard.respond(subject, [vg.Query("Hi")]), lambda: guard.save(tmp_path / "guard")):
            with pytest.raises(vg.GuardNotFitted, match="not fitted"):
                use()

    def test_it_guards_the_models_own_generate(self, guard, subject, asked):
        inputs = subject.encode(asked[:1])
        with guard.on(subject, asked[:1]), torch.no_grad():
            tokens = subject.model.generate(**inputs, do_sample=False, max_new_tokens=6)
        text = subject.processor.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert [text.strip()] == guard.respond(subject, asked[:1], max_new_tokens=6)


@pytest.mark.parametrize("name, settings", rows(HABITS, other_guards()))
class TestEveryOtherGuard:
    """Those that act on prompts and answers."""

    def test_it_changes_an_answer_and_leaves_nothing(self, guard, subject, asked):
        """One that looks at answers is shown a model that calls all of its own harmful."""
        unguarded, hooks = subject.generate(asked, max_new_tokens=12), hook_counts(subject)
        judging = Judging(subject, lambda query: "Yes.") if guard.looks_at_answers else subject
        assert guard.respond(judging, asked, max_new_tokens=12) != unguarded
        assert hook_counts(subject) == hooks and subject.generate(asked, max_new_tokens=12) == unguarded

    def test_it_belongs_to_no_model(self, name, settings, guard, subject, other_models, asked, pictures, tmp_path):
        """Unless it is fitted to one."""
        unfitted = vg.build_guard(name, **settings_with(settings, pictures[1]))
        if unfitted.needs_fit:
            with pytest.raises(vg.GuardNotFitted, match="not fitted"):
                unfitted.respond(subject, asked)
            with pytest.raises(vg.WrongModel, match="hidden size"):
                guard.respond(other_models["hidden size"], asked)
            return
        assert unfitted.respond(subject, asked, max_new_tokens=6) == guard.respond(subject, asked, max_new_tokens=6)
        guard.save(tmp_path / "guard")
        other = other_models["hidden size"]
        loaded = vg.load_guard(tmp_path / "guard", other)
        assert loaded.respond(other, asked, max_new_tokens=6) == unfitted.respond(other, asked, max_new_tokens=6)
        with pytest.raises(ValueError, match="acts on the prompt or the answer"), guard.on(subject, asked):
            pass


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

    @pytest.mark.parametrize(
        "change, reason",
        [
            ({"settings": {"rank": 2}}, "no setting 'rank'"),
            ({"guard": "tbop", "settings": {}}, "a fit has the tensors {'directions'"),
            ({"model": {"fingerprint": "x", "num_layers": 4, "hidden_size": 33}}, "a fit has the tensors {'shift'"),
            ({"anchors": None}, "is no fit of guard 'cmrm'"),
            ({"model": 3}, "guard.json is damaged"),
            ({"model": {"fingerprint": "x", "num_layers": 4.0, "hidden_size": 32}}, "num_layers is 4.0"),
            ({"model": {"fingerprint": 3, "num_layers": 4, "hidden_size": 32}}, "fingerprint is 3"),
            ({"settings": {"layers": [9]}}, "beyond the model's 4 decoder layers"),
            ({"settings": {"layers": [0]}}, r"its settings name the layers \[0\], its facts \[2\]"),
            ({"settings": {"alpha": 10**400}}, "alpha is 1000"),
            ({"settings": {"alpha": 1e308}}, "at most 1000"),
            ({"format": True}, "has format True"),
            ({"format": 2.0}, "has format 2.0"),
        ],
    )
    def test_what_is_no_fit_of_the_guard(self, folder, change, reason):
        """Where the digests agree, by chance or by hand."""
        rewrite(folder, **change)
        with pytest.raises(vg.DamagedGuard, match=reason) as caught:
            vg.load_guard(folder)
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", ["guard.json", "guard.safetensors"])
    @pytest.mark.parametrize("kind", ["pipe", "endless", "huge"])
    def test_what_is_no_ordinary_file(self, folder, name, kind):
        (folder / name).unlink()
        if kind == "pipe":
            os.mkfifo(folder / name)
        elif kind == "endless":
            (folder / name).symlink_to("/dev/zero")
        else:
            (folder / name).touch()
            os.truncate(folder / name, 1 << 42)
        with pytest.raises((vg.DamagedGuard, FileNotFoundError), match=name):
            vg.load_guard(folder)

    def test_a_gate_behind_the_layers_it_opens(self, subject, anchors, tmp_path):
        with pytest.raises(ValueError, match="condition_layer is 3, after the first edited layer 1"):
            vg.build_guard("refusal_direction", layers=[1], condition_layer=3).fit(subject, anchors)
        vg.build_guard("refusal_direction", layers=[1], condition_layer=1).fit(subject, anchors).save(tmp_path / "g")
        rewrite(tmp_path / "g", settings={"layers": [1], "condition_layer": 50})
        with pytest.raises(vg.DamagedGuard, match="condition_layer is 50"):
            vg.load_guard(tmp_path / "g")

    @pytest.mark.parametrize("setting", [{"caption_prompt": "\ud800"}, {"caption_tokens": 10**30}])
    def test_settings_that_fail_at_the_first_answer(self, subject, anchors, tmp_path, setting):
        vg.build_guard("shiftdc").fit(subject, anchors).save(tmp_path / "g")
        rewrite(tmp_path / "g", settings=setting)
        with pytest.raises(vg.DamagedGuard, match=next(iter(setting))):
            vg.load_guard(tmp_path / "g")

    def test_a_direction_of_nothing_adds_nothing(self, subject, anchors, pictures):
        guard = vg.build_guard("shiftdc", layers=[1, 2]).fit(subject, anchors)
        guard.tensors["safety_direction"][1] = 0
        guard.tensors["safety_direction"][2] = 1e-30
        asked = vg.Query("What is this?", (pictures[0],))
        edits = guard.edits(subject, [asked])
        assert all(bool(torch.isfinite(edits.by_layer[layer].vectors).all()) for layer in (1, 2))
        assert not edits.by_layer[1].vectors.any()

    def test_every_setting_is_covered_by_the_digest(self, folder):
        text = (folder / "guard.json").read_text()
        for there, damaged in (('"alpha": 1.0', '"alpha": 9.0'), ("edited_layers", "edited"), ('rs": 8', 'rs": 9')):
            assert there in text
            (folder / "guard.json").write_text(text.replace(there, damaged))
            with pytest.raises(vg.DamagedGuard, match="is not as it was written"):
                vg.load_guard(folder)

    @pytest.mark.parametrize(
        "number, problem",
        [(float("nan"), "not finite"), (0.0, "zero everywhere"), (3e38, "beyond 10,000,000"), (-2e7, "beyond")],
    )
    def test_worthless_numbers(self, folder, number, problem):
        tensors = safetensors.torch.load_file(folder / "guard.safetensors")
        tensors["shift"][:] = number
        rewrite(folder, tensors)
        with pytest.raises(vg.DamagedGuard, match=f"shift .*{problem}"):
            vg.load_guard(folder)

    def test_other_formats(self, folder):
        """That of earlier versions has no digest of its own; a later one is refused."""
        facts = json.loads((folder / "guard.json").read_text())
        del facts["sha256"]
        (folder / "guard.json").write_text(json.dumps({**facts, "format": 1}))
        assert vg.load_guard(folder).name == "cmrm"
        (folder / "guard.json").write_text(json.dumps(facts))
        with pytest.raises(vg.DamagedGuard, match="is not as it was written"):
            vg.load_guard(folder)
        rewrite(folder, format=3)
        with pytest.raises(vg.DamagedGuard, match="has format 3 but this version reads 2"):
            vg.load_guard(folder)

    @pytest.mark.parametrize("seed", range(60))
    def test_random_damage_is_one_line_with_the_folders_name(self, folder, seed):
        generator = random.Random(seed)
        file = folder / generator.choice(["guard.json", "guard.safetensors"])
        data = bytearray(file.read_bytes())
        start = generator.randrange(len(data))
        kind = generator.choice(["cut", "flip", "fill", "insert", "swap"])
        if kind == "cut":
            del data[start:]
        elif kind == "flip":
            data[start] ^= 1 << generator.randrange(8)
        elif kind == "fill":
            data[start : start + 40] = bytes([generator.randrange(256)]) * 40
        elif kind == "insert":
            data[start:start] = generator.randbytes(5)
        else:
            data = bytearray((folder / {"guard.json": "guard.safetensors"}.get(file.name, "guard.json")).read_bytes())
        file.write_bytes(data)
        with pytest.raises(vg.DamagedGuard) as caught:
            vg.load_guard(folder)
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["vlm_guard", "cmrm", "shiftdc", "nullsteer", "inferaligner", "mars", "jrs_rem"])
def test_a_fit_on_no_anchors_is_refused(subject, name):
    with pytest.raises(ValueError, match=f"guard '{name}' can't be fitted on 0 anchor pairs; give some"):
        vg.build_guard(name).fit(subject, Anchors(()))
