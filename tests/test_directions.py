"""Directions that a fit finds are more than rounding noise, and what is not finite is named."""

import json

import numpy as np
import pytest
import torch
from helpers.guard_folders import rewrite
from helpers.tiny_models import tiny_llava, tiny_processor

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.directions import leading_directions, mean_difference, noise_of

RANKED = {"vlm_guard": 4, "tbop": 9, "nullsteer": 8}
"""A rank beyond what the anchors of `repeated` give: three pairs, each three times."""


@pytest.fixture
def repeated(tmp_path):
    """Three pairs of requests, each three times, in wordings that differ by nothing but their order."""
    nouns = ["cake", "kite", "boat"] * 3
    path = tmp_path / "repeated.csv"
    path.write_text("harmful,harmless\n" + "".join(f"How to steal a {n}?,How to make a {n} at home?\n" for n in nouns))
    return vg.load_anchors(path)


@pytest.mark.parametrize("name", RANKED)
def test_a_rank_beyond_the_numerical_one_is_refused(name, subject, repeated):
    guard = vg.build_guard(name, rank=RANKED[name], layers=[2])
    with pytest.raises(
        ValueError, match=rf"rank is {RANKED[name]} but .* layer 2 has a numerical rank of (3|6), and"
    ) as no:
        guard.fit(subject, repeated)
    assert "\n" not in str(no.value) and not guard.is_fitted


@pytest.mark.parametrize("name", RANKED)
def test_a_layer_that_is_not_edited_does_not_matter_until_it_is(name, subject, repeated):
    guard = vg.build_guard(name, rank=2, layers=[2]).fit(subject, repeated)
    guard.facts["per_layer"]["rank"][1] = 1
    guard.with_settings(layers=[0, 2])
    with pytest.raises(ValueError, match="after decoder layer 1 has a numerical rank of 1"):
        guard.with_settings(layers=[1, 2])


def test_what_lies_beyond_is_zero_and_what_is_found_is_the_same_in_every_batch(repeated):
    fits = []
    for batch_size in (1, 5):
        subject = vg.HuggingFaceSubject(tiny_llava(), tiny_processor(), batch_size=batch_size)
        states = [subject.record([vg.Query(text) for text in side]) for side in (repeated.harmful, repeated.harmless)]
        rows = (states[0] - states[1]).transpose(0, 1).double()
        fits.append(leading_directions(rows, 5, noise_of(states[0]) + noise_of(states[1])))
    for directions, singular_values, numerical_rank in fits:
        assert numerical_rank.tolist() == [3] * 4 and not directions[:, 3:].any()
        lengths = directions[:, :3].norm(dim=-1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))
        assert (singular_values[:, 3:] < 1e-4 * singular_values[:, :1]).all()
    first, second = (directions for directions, _, _ in fits)
    torch.testing.assert_close(first.transpose(1, 2) @ first, second.transpose(1, 2) @ second, atol=2e-5, rtol=0)


def test_nullsteer_pushes_along_no_noise(subject, anchors, tmp_path):
    """Harmful requests that lie among the harmless ones but for rounding: nothing is left of them to be pushed."""
    requests = [*anchors.harmless[:3], *anchors.harmful[:3]]
    path = tmp_path / "among.csv"
    rows = zip(requests, [*requests[3:], *requests[:3]])
    path.write_text("harmful,harmless\n" + "".join(f"{one},{other}\n" for one, other in rows))
    for suppression in (0.0, 1.0):
        guard = vg.build_guard("nullsteer", layers=[1], suppression=suppression, rank=12)
        with pytest.raises(ValueError, match="zero everywhere"):
            guard.fit(subject, vg.load_anchors(path))


def test_nullsteer_takes_no_noise_for_benign(subject, repeated):
    guards = [vg.build_guard("nullsteer", rank=rank, layers=[1]).fit(subject, repeated) for rank in (None, 6)]
    assert guards[0].facts["per_layer"]["rank"] == [6] * 4
    torch.testing.assert_close(guards[0].tensors["probe"], guards[1].tensors["probe"], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("dtype, noise", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_the_noise_is_the_precisions(dtype, noise):
    states = torch.randn(12, 3, 64, generator=torch.Generator().manual_seed(0)).to(dtype).float()
    expected = noise * np.linalg.norm(states.numpy().astype(np.float64), axis=-1).mean(axis=0)
    np.testing.assert_allclose(noise_of(states).numpy(), expected, rtol=1e-6)
    bumped = states + noise / 20 * states.norm(dim=-1, keepdim=True) / 8 * torch.randn_like(states)
    assert not mean_difference(states, bumped, noise_of(states)).any()
    assert mean_difference(states, states + 1, noise_of(states)).all()


WITH_DIRECTIONS = [
    "shiftdc",
    "refusal_direction",
    "nullsteer",
    "cmrm",
    "vlm_guard",
    "tbop",
    "inferaligner",
    "jrs_rem",
    "mars",
]


@pytest.mark.parametrize("name", WITH_DIRECTIONS)
def test_a_layer_without_a_direction_is_left_as_it_is(name, fresh, anchors, pictures):
    """Not moved by a noise direction, and by no NaN: here no layer before the last knows what is asked."""
    guard = vg.build_guard(name, layers=[1], **({"caption_tokens": 3} if name == "shiftdc" else {}))
    guard.fit(fresh, anchors)
    for name, tensor in guard.tensors.items():
        if "direction" in name or name in ("shift", "probe"):
            tensor[1] = 0
    query = vg.Query("What is this?", (pictures[0],))
    edited = fresh.record([query], guard.edits(fresh, [query]))
    assert torch.equal(edited, fresh.record([query]))


@pytest.mark.parametrize("name", WITH_DIRECTIONS)
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_a_state_that_is_not_finite_is_named_with_its_anchor(name, preset, fresh, anchors, monkeypatch):
    asked, real = anchors.harmless[4], fresh.record

    def record(queries, *arguments, **named):
        states = real(queries, *arguments, **named)
        for row, query in enumerate(queries):
            if query.text == asked:
                states[row, 2, 5] = float("inf")
        return states

    monkeypatch.setattr(fresh, "record", record)
    guard = vg.build_guard(name, preset=preset)
    with pytest.raises(
        ValueError, match=r"layers \[2\] are not finite on harmless anchor 5 \('How to make a chair"
    ) as no:
        guard.fit(fresh, anchors)
    assert "\n" not in str(no.value) and not guard.is_fitted


def test_several_are_counted(fresh, anchors, monkeypatch):
    real = fresh.record
    monkeypatch.setattr(fresh, "record", lambda *given, **named: real(*given, **named) * float("nan"))
    with pytest.raises(
        ValueError, match=r"layers \[0, 1, 2, 3\] are not finite on harmful anchor 1 \(.*\) and 7 more; load"
    ):
        vg.build_guard("vlm_guard").fit(fresh, anchors)


class TestFoldersOfEarlierVersions:
    """Saved before these settings were: they have none of them, and no numerical rank among their facts."""

    @pytest.mark.parametrize(
        "name, unknown",
        [
            ("vlm_guard", ["query"]),
            ("cmrm", ["scale", "norm_cap"]),
            ("cmrm_sample", ["scale", "norm_cap"]),
            ("shiftdc", ["caption_place", "chat_template", "last_layer"]),
            ("nullsteer", ["state", "showings", "harmless_anchors", "harmful_anchors", "suppression"]),
            ("tbop", []),
            ("ecso", ["harmless"]),
        ],
    )
    def test_they_do_what_they_did(self, name, unknown, subject, anchors, asked, tmp_path):
        guard = vg.build_guard(name, **({"caption_tokens": 3} if name in ("ecso", "shiftdc") else {}))
        guard.fit(subject, anchors).save(tmp_path / "guard")
        facts = json.loads((tmp_path / "guard" / "guard.json").read_text())
        settings = {setting: value for setting, value in facts["settings"].items() if setting not in unknown}
        assert len(settings) == len(facts["settings"]) - len(unknown)
        changes = {"settings": settings}
        if "per_layer" in facts:
            changes["per_layer"] = {key: value for key, value in facts["per_layer"].items() if key != "rank"}
        rewrite(tmp_path / "guard", **changes)
        loaded = vg.load_guard(tmp_path / "guard", subject)
        assert loaded.settings == guard.with_settings(**facts["settings"]).settings
        assert loaded.respond(subject, asked, max_new_tokens=4) == guard.respond(subject, asked, max_new_tokens=4)

    def test_a_centred_component_is_refused(self, subject, anchors, tmp_path):
        vg.build_guard("cmrm", estimator="pca").fit(subject, anchors).save(tmp_path / "guard")
        settings = json.loads((tmp_path / "guard" / "guard.json").read_text())["settings"]
        rewrite(tmp_path / "guard", settings={key: value for key, value in settings.items() if key != "scale"})
        with pytest.raises(vg.DamagedGuard, match="centred the shifts, .*; fit it again") as refused:
            vg.load_guard(tmp_path / "guard")
        assert "\n" not in str(refused.value)
