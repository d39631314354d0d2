"""Anchors under conditions: what stands beside them, which guards ask for it, and what of it enters a fit."""

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from helpers.tiny_models import tiny_llava, tiny_processor
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.anchors import AnchorPair, Anchors
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.guards.core import registry
from vlmguard_plugin.guards.core.cached import load_or_fit
from vlmguard_plugin.guards.core.conditions import CONDITIONS

FEW = Anchors(tuple(AnchorPair(f"How to break {thing}?", f"How to mend {thing}?") for thing in ("a cup", "oars", "it")))


class MeanGap(vg.RepresentationGuard):
    """Adds the mean gap between harmful and harmless anchors under all conditions."""

    name = "mean_gap"
    Settings = vg.ConditionSettings
    fit_settings = ("conditions", "picture_seed")

    def default_layers(self, num_layers):
        return (1,)

    def fit_tensors(self, subject, anchors, progress):
        gaps = []
        for part in vg.anchor_queries(anchors, self.settings.conditions, self.settings.picture_seed):
            states, harmful = subject.record(part.queries), torch.tensor(part.harmful)
            gaps.append(states[harmful].mean(dim=0) - states[~harmful].mean(dim=0))
        return {"gap": torch.stack(gaps).mean(dim=0)}, {}

    def edits(self, subject, queries):
        return vg.Edits({1: vg.AddVectors(self.tensors["gap"][1].unsqueeze(0))}, self.settings.positions)


@pytest.fixture
def mean_gap(monkeypatch):
    known = {**registry.guard_classes(), "mean_gap": MeanGap}
    monkeypatch.setattr(registry, "guard_classes", lambda: known)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, colour in enumerate(("red", "green", "blue", "white")):
        Image.new("RGB", (30 + number, 20), colour).save(folder / f"{number}.png")
    return folder


def pixels(part):
    return [np.asarray(query.images[0]) for query in part.queries]


def test_all_conditions_stand_beside_both_requests_of_a_pair_alike():
    parts = {part.condition: part for part in vg.anchor_queries(FEW)}
    assert tuple(parts) == CONDITIONS
    for condition, part in parts.items():
        assert [query.text for query in part.queries] == FEW.harmful + FEW.harmless
        assert part.pairs == (0, 1, 2, 0, 1, 2) and part.harmful == (True,) * 3 + (False,) * 3
        if condition == "text":
            assert not any(query.images for query in part.queries)
            continue
        drawn = pixels(part)
        assert all(np.array_equal(drawn[pair], drawn[pair + 3]) for pair in range(3))
        assert all(np.array_equal(drawn[0], drawn[pair]) for pair in (1, 2)) == (condition == "blank")
    assert all((image == 255).all() for image in pixels(parts["blank"]))


@pytest.mark.parametrize("condition", ["noise", "shape", "word", "colour", "object"])
def test_what_is_drawn_is_decided_by_the_seed(condition):
    first, again, other = ([*pixels(next(vg.anchor_queries(FEW, (condition,), seed)))] for seed in (3, 3, 4))
    assert all(np.array_equal(one, two) for one, two in zip(first, again))
    assert sum(np.array_equal(one, two) for one, two in zip(first, other)) <= 0.1 * len(first)


def test_fewer_anchors_leave_the_pictures_of_those_before_as_they_are():
    fewer = next(vg.anchor_queries(Anchors(FEW.pairs[:2]), ("word",)))
    whole = next(vg.anchor_queries(FEW, ("word",)))
    assert np.array_equal(pixels(fewer)[1], pixels(whole)[1])


def test_objects_in_the_picture_are_pairs_of_their_own():
    pairs = vg.load_object_pairs()
    part = next(vg.anchor_queries(FEW, ["object"]))
    half = len(pairs)
    assert len(part.queries) == 2 * half and part.pairs == (*range(3, 3 + half), *range(3, 3 + half))
    assert part.harmful == (True,) * half + (False,) * half
    drawn = pixels(part)
    for number, pair in enumerate(pairs):
        assert part.queries[number].text == part.queries[number + half].text == pair.request
        assert not np.array_equal(drawn[number], drawn[number + half])
        assert np.array_equal(drawn[number][0, 0], drawn[number + half][0, 0])  # the same ground


def test_photos_are_dealt_out_by_the_seed_and_from_the_start_again(photos):
    def dealt(seed, pairs):
        anchors = Anchors(tuple(AnchorPair(f"a{number}", f"b{number}") for number in range(pairs)))
        return [query.images[0].name for query in next(vg.anchor_queries(anchors, f"photos={photos}", seed)).queries]

    six = dealt(0, 6)
    assert six[:6] == six[6:] and sorted(six[:4]) == ["0.png", "1.png", "2.png", "3.png"] and six[4:6] == six[:2]
    assert dealt(0, 2)[:2] == six[:2]
    assert len({tuple(dealt(seed, 4)) for seed in range(8)}) > 3


@pytest.mark.parametrize(
    "conditions, message",
    [
        ("", "conditions is ''"),
        ([], r"conditions is \[\]"),
        (
            "text,rain",
            "conditions is 'text,rain'; give distinct ones of text, blank, noise, shape, word, colour, object and",
        ),
        (["text", 5], r"conditions is \['text', 5\]"),
        ("blank,text,blank", "give distinct ones"),
        ("photos=", "photos=FOLDER"),
        (None, "conditions is None"),
    ],
)
def test_other_conditions_are_refused_by_settings_and_queries(conditions, message):
    with pytest.raises(ValueError, match=message):
        vg.ConditionSettings(conditions=conditions)
    with pytest.raises(ValueError, match=message):
        vg.anchor_queries(FEW, conditions)


def test_photos_that_can_not_be_used_are_refused_before_anything_is_drawn(photos, tmp_path):
    for folder, message in ((tmp_path / "none", "no folder"), (tmp_path, "holds no .png")):
        with pytest.raises(ValueError, match=message):
            vg.anchor_queries(FEW, ["text", f"photos={folder}"])
    (photos / "2.png").write_bytes((photos / "2.png").read_bytes()[:60])
    (photos / "0.png").unlink()
    with pytest.raises(ValueError, match=r"2\.png"):
        vg.anchor_queries(FEW, ["text", f"photos={photos}"])


def test_a_guard_is_fitted_under_its_conditions_and_saved_with_them(mean_gap, subject, photos, tmp_path):
    text, both, other = (
        vg.build_guard("mean_gap", **settings).fit(subject, FEW)
        for settings in (
            {"conditions": "text"},
            {"conditions": ["text", "shape", f"photos={photos}"]},
            {"conditions": ["text", "shape", f"photos={photos}"], "picture_seed": 1},
        )
    )
    gaps = [guard.tensors["gap"] for guard in (text, both, other)]
    assert not any(torch.equal(one, two) for one, two in zip(gaps, gaps[1:]))
    assert set(both.facts["anchors"]["contents"]) == {f"photos={photos}"} and "contents" not in text.facts["anchors"]
    both.save(tmp_path / "saved")
    for photo in photos.iterdir():
        photo.unlink()
    loaded = vg.load_guard(tmp_path / "saved", subject)  # the photos are not needed any more
    assert loaded.settings.conditions == both.settings.conditions and loaded.fingerprint == both.fingerprint


def test_a_cached_fit_is_not_taken_for_one_beside_other_photos(mean_gap, subject, photos, tmp_path):
    def fitted():
        guard = vg.build_guard("mean_gap", conditions=["blank", f"photos={photos}"])
        return load_or_fit(guard, subject, FEW, tmp_path / "cache")

    first = fitted()
    assert torch.equal(fitted().tensors["gap"], first.tensors["gap"])
    assert len(list((tmp_path / "cache" / "guards").glob("mean_gap-*[!k]"))) == 1
    Image.effect_noise((40, 40), 90).convert("RGB").save(photos / "1.png")
    assert not torch.equal(fitted().tensors["gap"], first.tensors["gap"])


def test_fit_takes_conditions_and_anchors_by_name(mean_gap, tmp_path, monkeypatch):
    monkeypatch.setenv("VLMGUARD_DEVICE", "cpu")
    tiny_llava().save_pretrained(tmp_path / "model")
    tiny_processor().save_pretrained(tmp_path / "model")

    def fit(guard, *more, out="g"):
        arguments = ["fit", guard, "--model", tmp_path / "model", "--out", tmp_path / out, *more]
        return CliRunner().invoke(main, [str(argument) for argument in arguments])

    done = fit("mean_gap", "--conditions", "text,blank", "--anchors", "how_to")
    assert done.exit_code == 0 and "128 pairs" in done.output, done.output
    assert vg.load_guard(tmp_path / "g").settings.conditions == ("text", "blank")
    for arguments, message in (
        (("mean_gap", "--conditions", "text", "--set", "conditions=blank"), "give one of them"),
        (("mean_gap", "--conditions", "fog"), "conditions is 'fog'"),
        (("mean_gap", "--conditions", f"photos={tmp_path / 'none'}"), "no folder"),
        (("vlm_guard", "--conditions", "text"), "guard 'vlm_guard' has no setting 'conditions'"),
    ):
        done = fit(*arguments, out="refused")
        assert done.exit_code != 0 and message in done.output and "Traceback" not in done.output, done.output
    assert not (tmp_path / "refused").exists()


def test_guards_are_fitted_on_the_anchors_they_were_known_by():
    assert vg.load_anchors().sha256 == vg.load_anchors("how_to").sha256
    assert vg.load_anchors().sha256 == "2796aa07c50544b652bdb7740a394520dcaefd08afabea352737fb4f32639660"
