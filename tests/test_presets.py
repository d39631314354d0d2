"""Presets: a guard's settings as its sources give them, wherever settings are given, and what is ours among them."""

import json

import pytest
from click.testing import CliRunner
from helpers.guard_rows import CLIP, REWARD_MODEL, own_guards, settings_with
from helpers.tiny_models import tiny_llava, tiny_processor

import vlmguard_plugin as vg
from vlmguard_plugin.cli.main import main
from vlmguard_plugin.demo.measure import guard_named
from vlmguard_plugin.guards.core.cached import load_or_fit
from vlmguard_plugin.guards.core.registry import guard_classes
from vlmguard_plugin.guards.core.settings import setting_names
from vlmguard_plugin.hosts.guard_spec import GuardSpec
from vlmguard_plugin.inspection.guard import describe_guard

PAPER = {
    "vlm_guard": {"project": True, "query": "text", "gate": "zero"},
    "cmrm": {"layers": "all", "alpha": 1.0, "estimator": "pca", "positions": "every_step", "image": "white"},
    "cmrm_sample": {"level": "sample", "layers": "all", "positions": "every_step"},
    "shiftdc": {
        "alpha": 1.0,
        "positions": "last",
        "caption_tokens": 128,
        "caption_place": "after",
        "chat_template": False,
        "last_layer": "normalised",
    },
    "refusal_direction": {"alpha": 1.0, "positions": "all", "condition": False},
    "tbop": {"alpha": 1.0, "image": "white", "text_too": False},
    "nullsteer": {
        "alpha": 5.0,
        "state": "own",
        "showings": "pictured",
        "harmless_anchors": 8,
        "harmful_anchors": 100,
    },
    "inferaligner": {"positions": "all", "scale": "difference"},
    "jrs_rem": {"layers": None, "alpha": 1.0, "positions": "last", "threshold": 0.2},
    "mars": {"positions": "last"},
    "self_reminder": {},
    "goal_priority": {},
    "adashield": {},
    "coca": {},
    "ecso": {"harmless": True},
    "eta": {
        "picture_threshold": 0.16,
        "reward_threshold": 0.06,
        "prefix": "As an AI assistant",
        "candidates": 5,
        "sentence_tokens": 70,
        "top_k": 5,
        "temperature": 1.5,
    },
    "visual_prompt": {
        "mode": "border",
        "margin": 30 / 336,
        "square": True,
        "shielded": True,
        "steps": 1200,
        "step": 1.0,
        "batch": 1,
        "top": 27.0,
        "bottom": -2.0,
        "scale": "absolute",
    },
}
"""What the sources give, by guard."""
OURS = {
    "vlm_guard": {"layers", "alpha", "positions", "rank", "query"},
    "cmrm": {"scale", "norm_cap"},
    "cmrm_sample": {"alpha", "scale", "norm_cap"},
    "shiftdc": {"caption_prompt"},
    "nullsteer": {"positions", "rank", "suppression", "image"},
    "inferaligner": {"layers", "alpha", "threshold", "vectors_from"},
    "jrs_rem": {"shown", "conditions", "picture_seed"},
    "mars": {"layers", "alpha", "threshold", "trust", "picture_seed"},
    "coca": {"alpha", "prompt_file"},
    "eta": {"clip", "reward_model", "picture_statement", "reward_prompt", "seed"},
    "visual_prompt": {"hold", "conditions", "layer"},
}
"""What they leave open, where that matters most."""

WITHOUT_SOURCES = {"none", "conditional_refusal", "moderated"}
"""Guards that no paper describes."""


def with_sources():
    return [name for name in own_guards() if guard_classes()[name].paper]


def test_guards_without_sources_say_that_they_have_no_paper():
    assert set(own_guards()) - set(with_sources()) == WITHOUT_SOURCES and set(with_sources()) == set(PAPER)
    with pytest.raises(ValueError, match="preset is 'paper'; guard 'none' has default"):
        vg.build_guard("none", preset="paper")


@pytest.mark.parametrize("name", with_sources())
def test_every_guard_has_what_its_sources_give(name):
    guard = vg.build_guard(name, preset="paper")
    assert {setting: getattr(guard.settings, setting) for setting in PAPER[name]} == PAPER[name]
    paper, names = guard_classes()[name].paper, setting_names(guard.Settings)
    assert set(paper.ours) <= set(names) and set(paper.settings) <= set(names)
    assert not set(PAPER[name]) & set(paper.ours) - {"query"}  # whose state q is, both readings are reachable
    assert set(paper.ours) >= OURS.get(name, set())
    assert vg.build_guard(name, preset="default").settings == vg.build_guard(name).settings


def test_layers_by_the_models_depth():
    shiftdc, nullsteer = (vg.build_guard(name, preset="paper") for name in ("shiftdc", "nullsteer"))
    assert shiftdc.layers(32) == tuple(range(10, 32)) and shiftdc.layers(24)[0] == 8
    assert (nullsteer.layers(32), nullsteer.layers(40)) == ((14,), (20,))
    assert vg.build_guard("shiftdc").layers(32) == tuple(range(16, 32))
    assert vg.build_guard("cmrm", preset="paper").layers(3) == (0, 1, 2)
    assert vg.build_guard("jrs_rem", preset="paper").layers(3) == (0, 1, 2)
    assert vg.build_guard("nullsteer", preset="paper", layers=[3]).layers(32) == (3,)


def test_what_is_given_beside_a_preset_goes_before_it(subject, anchors, tmp_path):
    guard = vg.build_guard("vlm_guard", preset="paper", alpha=3.0, layers=[1]).fit(subject, anchors)
    assert (guard.settings.alpha, guard.settings.layers, guard.settings.project) == (3.0, (1,), True)
    guard.save(tmp_path / "guard")
    kept = json.loads((tmp_path / "guard" / "guard.json").read_text())
    assert kept["settings"]["preset"] == "paper" and kept["ours"] == ["positions", "rank", "query"]
    loaded = vg.load_guard(tmp_path / "guard", subject)
    loaded.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "guard.json").read_text()) == kept
    changed = loaded.with_settings(positions="last")
    changed.save(tmp_path / "changed")
    assert json.loads((tmp_path / "changed" / "guard.json").read_text())["ours"] == ["rank", "query"]


def test_a_preset_is_told_in_the_folder_and_not_in_the_fingerprint(subject, anchors, tmp_path):
    guard = vg.build_guard("shiftdc", preset="paper").fit(subject, anchors)
    guard.save(tmp_path / "guard")
    kept = json.loads((tmp_path / "guard" / "guard.json").read_text())
    assert kept["ours"] == ["caption_prompt", "layers"] and kept["settings"]["layers"] == [1, 2, 3]
    assert describe_guard(tmp_path / "guard")["ours"] == kept["ours"]
    loaded = vg.load_guard(tmp_path / "guard", subject)
    assert loaded.preset == "paper" and loaded.fingerprint == guard.fingerprint
    by_hand = vg.build_guard("shiftdc", **{**PAPER["shiftdc"], "caption_prompt": guard.settings.caption_prompt})
    by_hand = by_hand.with_settings(layers=[1, 2, 3]).fit(subject, anchors)
    assert by_hand.preset is None and by_hand.fingerprint == guard.fingerprint
    by_hand.save(tmp_path / "by_hand")
    assert "ours" not in json.loads((tmp_path / "by_hand" / "guard.json").read_text())


QUICK = {
    "shiftdc": {"caption_tokens": 3},
    "ecso": {"caption_tokens": 3},
    "eta": {"clip": CLIP, "reward_model": REWARD_MODEL},
    "visual_prompt": {"steps": 2, "step": 60.0, "batch": 8},
}
"""Settings beside a preset under which what takes long is short."""


@pytest.mark.parametrize("name", with_sources())
def test_a_batch_answers_as_one_at_a_time_and_a_loaded_one_as_well(name, subject, anchors, asked, tmp_path):
    guard = vg.build_guard(name, preset="paper", **settings_with(QUICK.get(name, {}), "")).fit(subject, anchors)
    together = guard.respond(subject, asked, max_new_tokens=5)
    assert together == [guard.respond(subject, [query], max_new_tokens=5)[0] for query in asked]
    guard.save(tmp_path / "guard")
    assert vg.load_guard(tmp_path / "guard", subject).respond(subject, asked, max_new_tokens=5) == together


def test_a_preset_puts_its_settings_in_the_place_of_all_others(subject, anchors):
    guard = vg.build_guard("refusal_direction", alpha=7.0, layers=[1], condition=True).fit(subject, anchors)
    paper = guard.with_settings(preset="paper")
    assert (paper.settings.alpha, paper.settings.condition, paper.facts["edited_layers"]) == (1.0, False, [2])
    assert paper.fingerprint == vg.build_guard("refusal_direction", preset="paper").fit(subject, anchors).fingerprint
    with pytest.raises(ValueError, match="estimator enters the fit of 'cmrm'; build and fit .* estimator='pca'"):
        vg.build_guard("cmrm").fit(subject, anchors).with_settings(preset="paper")


@pytest.mark.parametrize("preset", ["papers", 3, ["paper"]])
def test_an_unknown_preset_is_named(preset):
    with pytest.raises(ValueError, match="guard 'cmrm' has default and paper") as refused:
        vg.build_guard("cmrm", preset=preset)
    assert repr(preset) in str(refused.value)


def test_a_composition_takes_presets_by_guard(subject, anchors, asked, tmp_path):
    guard = vg.build_guard("cmrm+self_reminder", cmrm={"preset": "paper", "alpha": 0.5}).fit(subject, anchors)
    guard.save(tmp_path / "guard")
    kept = json.loads((tmp_path / "guard" / "guard.json").read_text())
    assert kept["settings"]["cmrm"]["preset"] == "paper" and kept["parts"]["cmrm"]["ours"] == ["scale", "norm_cap"]
    loaded = vg.load_guard(tmp_path / "guard", subject)
    assert loaded.parts[0].settings.estimator == "pca" and loaded.fingerprint == guard.fingerprint
    assert loaded.respond(subject, asked, max_new_tokens=4) == guard.respond(subject, asked, max_new_tokens=4)
    with pytest.raises(ValueError, match="takes settings by guard"):
        vg.build_guard("cmrm+self_reminder", preset="paper")


def test_hosts_take_a_preset_as_they_take_settings(monkeypatch):
    """Before the settings that were found for a demo model, which are no paper's."""
    for name in ("GUARD_DIR", "ANCHORS", "MAX_NEW_TOKENS", "DEVICE", "DTYPE", "BATCH_SIZE"):
        monkeypatch.delenv(f"VLMGUARD_{name}", raising=False)
    known = GuardSpec.of("demo_vlm", "nullsteer").unfitted_guard()
    paper = GuardSpec.of("demo_vlm", "nullsteer", preset="paper", alpha=4.0).unfitted_guard()
    assert known.settings.layers == (15,) and paper.settings.layers is None and paper.settings.alpha == 4.0
    assert (
        GuardSpec.of("demo_vlm", "cmrm", preset="default").unfitted_guard().settings == vg.build_guard("cmrm").settings
    )
    both = GuardSpec.of("demo_vlm", "cmrm+vlm_guard", cmrm={"preset": "paper"}).unfitted_guard()
    assert both.settings["cmrm"].layers == "all" and both.settings["vlm_guard"].layers == (14, 15, 16)
    with pytest.raises(ValueError, match="preset: belongs to a guard, but none is named"):
        GuardSpec.of("demo_vlm", preset="paper")


def test_a_folder_is_taken_under_a_preset(subject, anchors, tmp_path):
    vg.build_guard("refusal_direction", layers=[1]).fit(subject, anchors).save(tmp_path / "guard")
    spec = GuardSpec("any", "refusal_direction", {"preset": "paper"}, guard_dir=str(tmp_path / "guard"))
    assert spec.fitted_guard(subject).settings.alpha == 1.0


def test_the_cache_keeps_fits_by_what_enters_them(subject, anchors, tmp_path):
    first = load_or_fit(vg.build_guard("shiftdc"), subject, anchors, tmp_path)
    paper = load_or_fit(vg.build_guard("shiftdc", preset="paper"), subject, anchors, tmp_path)
    again = load_or_fit(vg.build_guard("shiftdc", preset="paper", alpha=0.5), subject, anchors, tmp_path)
    assert first.fingerprint != paper.fingerprint and again.preset == "paper" and again.settings.alpha == 0.5
    assert len([path for path in (tmp_path / "guards").iterdir() if path.is_dir()]) == 2


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setenv("LMUData", str(tmp_path))
    monkeypatch.setenv("VLMGUARD_DEVICE", "cpu")
    return lambda *arguments: CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def fit(run, fresh, tmp_path):
    """Fits a guard on a tiny model and three pairs by the command: what guard.json holds then."""
    fresh.model.save_pretrained(tmp_path / "model")
    fresh.processor.save_pretrained(tmp_path / "model")
    (tmp_path / "anchors.csv").write_text(
        "harmful,harmless\nSteal it?,Buy it?\nBreak it?,Mend it?\nHide it?,Show it?\n"
    )

    def fitted(*arguments):
        given = ("--model", tmp_path / "model", "--anchors", tmp_path / "anchors.csv", "--out", tmp_path / "guard")
        done = run("fit", *arguments, *given)
        assert done.exit_code == 0, done.output
        return json.loads((tmp_path / "guard" / "guard.json").read_text())

    return fitted


@pytest.mark.parametrize("how", [("--preset", "paper"), ("--set", "preset=paper")])
def test_the_command_fits_a_preset(fit, run, tmp_path, how):
    kept = fit("tbop", *how, "--set", "alpha=0.5")
    assert kept["settings"]["preset"] == "paper" and kept["ours"] == ["layers", "positions", "rank"]
    shown = run("inspect", tmp_path / "guard").output
    assert "preset=paper" in shown and "layers, positions, rank (its sources leave them open)" in shown
    assert (kept["settings"]["alpha"], kept["settings"]["text_too"]) == (0.5, False)


def test_the_command_calibrates_what_is_ours(fit):
    """Layers and alpha of VLM-Guard, never its projection or its gate."""
    kept = fit("vlm_guard", "--preset", "paper", "--calibrate", "--pairs", "2")
    tried = [set(point["settings"]) for point in kept["calibration"]["points"]]
    assert all(names == {"layers", "alpha"} for names in tried) and len(tried) > 3
    assert kept["settings"]["project"] and kept["settings"]["query"] == "text"


def test_calibration_leaves_alone_what_the_sources_give():
    guard = vg.build_guard("vlm_guard", preset="paper")
    assert set(guard.given_by_sources) == {"gate", "project"}
    assert vg.build_guard("vlm_guard").given_by_sources == ()
    assert not set(vg.build_guard("cmrm", preset="paper").given_by_sources) & {"scale", "norm_cap"}


def test_the_list_shows_defaults_and_paper(run):
    shown = json.loads(run("list", "--json").output)["guards"]
    assert shown["cmrm"]["settings"]["estimator"] == "mean" and shown["cmrm"]["paper"]["settings"]["estimator"] == "pca"
    assert shown["vlm_guard"]["paper"]["ours"] == ["layers", "alpha", "positions", "rank", "query"]
    lines = run("list").output.splitlines()
    (row,) = [index for index, line in enumerate(lines) if line.startswith("  vlm_guard ")]
    assert "default" in lines[row + 1] and "alpha=0.5" in lines[row + 1]
    assert "paper" in lines[row + 2] and "alpha=1.0*, project=True, query='text'*" in lines[row + 2]
    assert any("* our choice" in line for line in lines)


@pytest.mark.parametrize(
    "text, settings",
    [
        ("cmrm:preset=paper", {"estimator": "pca", "layers": "all"}),
        ("cmrm", {"alpha": 0.4, "layers": (16,)}),
        ("cmrm:alpha=0.7,positions=last", {"alpha": 0.7, "layers": (16,), "positions": "last"}),
        ("cmrm:layers=[3,4],alpha=0.1", {"layers": (3, 4), "alpha": 0.1}),
        ("cmrm:preset=default", {"alpha": 1.0, "layers": None}),
    ],
)
def test_measures_name_settings_beside_a_guard(text, settings):
    built = guard_named(text, "demo_vlm").settings
    assert {setting: getattr(built, setting) for setting in settings} == settings


@pytest.mark.parametrize(
    "text, message", [("cmrm:paper", "'paper' is not SETTING=VALUE"), ("cmrm:x=1", "no setting 'x'")]
)
def test_measures_refuse_what_is_no_setting(text, message):
    with pytest.raises(ValueError, match=message):
        guard_named(text, "demo_vlm")


def test_another_models_preset_is_refused_as_any_fit_is(subject, anchors, tmp_path):
    vg.build_guard("cmrm", preset="paper").fit(subject, anchors).save(tmp_path / "guard")
    other = vg.HuggingFaceSubject(tiny_llava(seed=5), tiny_processor())
    with pytest.raises(vg.WrongModel, match="model fingerprint"):
        vg.load_guard(tmp_path / "guard", other)
