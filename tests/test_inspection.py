"""What a fitted guard has learned: its description, tables that say what was found, readable figures."""

import json
from dataclasses import replace

import pytest
from helpers.guard_folders import rewrite
from helpers.readable import check_readable, printed

import vlmguard_plugin as vg
from vlmguard_plugin.guards.core.saved import DamagedGuard
from vlmguard_plugin.inspection import (
    check_plot,
    describe_guard,
    plot_guard,
    print_guard,
)
from vlmguard_plugin.inspection.engines import difference, seen_on
from vlmguard_plugin.inspection.guard_figure import FACT_TITLES
from vlmguard_plugin.statistics.rates import wilson


def rate_point(harmful, harmless, degenerate=0.0, **settings):
    rates = {"harmful_refused": harmful, "harmless_refused": harmless, "degenerate": degenerate, "n": 64}
    return {"settings": settings, **rates} if settings else rates


CALIBRATION = {
    "bound": 0.02,
    "pairs": 64,
    "images": ["blank", "noise", "shape picture"],
    "unguarded": rate_point(20 / 64, 4 / 64),
    "points": [
        rate_point(30 / 64, 4 / 64, alpha=0.5, layers=[1, 2]),
        rate_point(44 / 64, 5 / 64, alpha=1.0, layers=[1, 2]),
        rate_point(60 / 64, 22 / 64, alpha=2.0, layers=[1, 2]),
        rate_point(10 / 64, 0.0, 40 / 128, alpha=2.0, layers=[2]),
    ],
    "chosen": {"alpha": 1.0, "layers": [1, 2]},
}


@pytest.fixture(scope="module")
def folders(subject, anchors, tmp_path_factory):
    """Fitted guards by name."""
    root = tmp_path_factory.mktemp("guards")
    fitted = {
        "vlm_guard": {"layers": [1, 2], "rank": 2},
        "cmrm": {"layers": [2]},
        "cmrm_sample": {},
        "self_reminder": {},
        "vlm_guard+self_reminder+cmrm": {"vlm_guard": {"layers": [3]}, "cmrm": {"layers": [0]}},
    }
    for name, settings in fitted.items():
        vg.build_guard(name, **settings).fit(subject, anchors).save(root / name)
    return {folder.name: folder for folder in root.iterdir()}


def written(folder, calibration):
    """The folder's guard.json with a calibration in it; describe_guard's account of it."""
    rewrite(folder, calibration=calibration)
    return describe_guard(folder)


@pytest.mark.parametrize("name", ["vlm_guard", "cmrm"])
def test_fitted_guard_is_described_printed_and_drawn(name, folders, subject, anchors, tmp_path):
    description = describe_guard(folders[name])
    assert json.loads(json.dumps(description)) == description
    fitted = vg.load_guard(folders[name])
    assert description["guard"] == name and description["calibration"] is None
    assert description["model"]["fingerprint"] == subject.fingerprint
    assert description["anchors"] == {"pairs": 8, "sha256": anchors.sha256}
    assert description["per_layer"] == fitted.facts["per_layer"]
    assert description["edited_layers"] == fitted.facts["edited_layers"]
    said = printed(print_guard, description)
    rows = [line for line in said.splitlines() if line.startswith("│")]
    assert len(rows) == 4 and [layer for layer in range(4) if "*" in rows[layer]] == description["edited_layers"]
    assert "Calibration" not in said
    check_readable(plot_guard(description, tmp_path / name))


def test_what_is_drawn_of_each_guard(folders, tmp_path):
    (file,) = plot_guard(describe_guard(folders["vlm_guard"]), tmp_path / "one.svg")
    drawn = file.read_text()
    for text in ("Singular values", "harmless anchors", "harmful anchors", "1st", "Gate threshold"):
        assert f">{text}<" in drawn
    (file,) = plot_guard(describe_guard(folders["cmrm"]), tmp_path / "two.svg")
    assert "Length of the fitted shift" in file.read_text() and "Singular" not in file.read_text()
    sample = describe_guard(folders["cmrm_sample"])
    assert "no numbers per layer" in printed(print_guard, sample)
    with pytest.raises(ValueError, match="'cmrm_sample' has nothing to draw"):
        plot_guard(sample, tmp_path / "none.png")


def test_a_guard_that_edits_no_hidden_states(folders):
    description = describe_guard(folders["self_reminder"])
    assert description["edited_layers"] == [] and description["per_layer"] == {} and description["parts"] == []
    said = printed(print_guard, description)
    assert "self_reminder" in said and "edits layers" not in said


def test_a_composition_is_its_parts(folders, tmp_path):
    description = describe_guard(folders["vlm_guard+self_reminder+cmrm"])
    assert json.loads(json.dumps(description)) == description
    assert [part["guard"] for part in description["parts"]] == ["vlm_guard", "self_reminder", "cmrm"]
    assert [part["edited_layers"] for part in description["parts"]] == [[3], [], [0]]
    assert description["parts"][2]["per_layer"] == describe_guard(folders["cmrm"])["per_layer"]
    rows = [line for line in printed(print_guard, description).splitlines() if line.startswith("│")]
    assert [row for row, text in enumerate(rows) if "*" in text] == [3, 4]
    (file,) = plot_guard(description, tmp_path / "composed.svg")
    for title in ("vlm_guard: Singular values", "cmrm: Length of the fitted shift"):
        assert f">{title}<" in file.read_text()


@pytest.mark.parametrize(
    "name", ["tbop", "nullsteer", "refusal_direction", "shiftdc", "inferaligner", "jrs_rem", "mars"]
)
def test_every_fact_of_the_other_guards_is_drawn_under_a_title_of_its_own(name, subject, anchors, tmp_path):
    vg.build_guard(name).fit(subject, anchors).save(tmp_path)
    description = describe_guard(tmp_path)
    sides = ("_harmful_anchors", "_harmless_anchors")
    facts = {fact.removesuffix(sides[0]).removesuffix(sides[1]) for fact in description["per_layer"]}
    assert facts and facts <= set(FACT_TITLES)
    (file,) = plot_guard(description, tmp_path / "guard.svg")
    assert all(f">{FACT_TITLES[fact][0]}<" in file.read_text() for fact in facts)


def test_facts_of_an_unknown_guard(folders, tmp_path):
    description = describe_guard(folders["cmrm"])
    facts = {"probe_auc": [0.5, None, 0.7, 1], "ranks": [[1, 2, 3, 4], [1], [2], []], "note": ["a", "b", "c", "d"]}
    said = printed(print_guard, {**description, "per_layer": facts})
    assert "1 2 3 ..." in said and "probe auc" in said
    (file,) = plot_guard({**description, "per_layer": facts}, tmp_path / "own.svg")
    assert "Probe auc" in file.read_text() and "Note" not in file.read_text()


def test_calibration_is_printed_and_drawn(folders, tmp_path):
    description = written(folders["cmrm_sample"], CALIBRATION)
    said = printed(print_guard, description)
    low, high = wilson(44, 64)
    assert f"68.8 [{100 * low:.1f}, {100 * high:.1f}]" in said
    low, high = wilson(40, 128)
    assert f"31.2 [{100 * low:.1f}, {100 * high:.1f}]" in said, "degenerate is a share of both sides' answers"
    rows = [line for line in said.splitlines() if line.startswith("│")]
    assert len(rows) == 5 and rows[0].startswith("│ unguarded")
    assert [[word in row for word in ("chosen", "over bound", "degenerate")] for row in rows] == [
        [False, False, False],
        [False, False, False],
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]
    assert "Chosen: alpha=1.0, layers=[1, 2] (bound: harmless refused at most 8.2%, 2 points above" in said
    files = plot_guard(description, tmp_path / "calibration")
    check_readable(files)
    for text in ("chosen", "unguarded", "bound, 8.2%", "harmless requests refused (%)"):
        assert f">{text}<" in files[1].read_text()

    none = written(folders["cmrm_sample"], {**CALIBRATION, "chosen": None})
    assert "No point met the bound" in printed(print_guard, none)
    (file,) = plot_guard(none, tmp_path / "none.svg")
    assert "none met the bound" in file.read_text() and ">chosen<" not in file.read_text()


def test_settings_of_an_older_version_are_shown_as_what_they_mean_now(folders, tmp_path):
    """ "blank" was the mean colour; now it is white, and is never saved under that name."""
    for name in ("cmrm", "vlm_guard+self_reminder+cmrm"):
        (tmp_path / name).mkdir()
        for file in folders[name].iterdir():
            (tmp_path / name / file.name).write_bytes(file.read_bytes())
        facts = json.loads((tmp_path / name / "guard.json").read_text())
        settings = facts["settings"] if name == "cmrm" else facts["settings"]["cmrm"]
        assert settings["image"] == "white"
        settings["image"] = "blank"
        rewrite(tmp_path / name, settings=facts["settings"])
    assert describe_guard(tmp_path / "cmrm")["settings"]["image"] == "mean"
    composed = describe_guard(tmp_path / "vlm_guard+self_reminder+cmrm")
    assert composed["settings"]["cmrm"]["image"] == composed["parts"][2]["settings"]["image"] == "mean"


def test_damaged_guards_are_named(folders, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no guard.json"):
        describe_guard(tmp_path)
    with pytest.raises(vg.DamagedGuard, match="calibration lacks points"):
        written(folders["cmrm_sample"], {name: value for name, value in CALIBRATION.items() if name != "points"})
    facts = json.loads((folders["cmrm"] / "guard.json").read_text())
    for name in ("guard.json", "guard.safetensors"):
        (tmp_path / name).write_bytes((folders["cmrm"] / name).read_bytes())
    facts["per_layer"]["shift_norm"].pop()
    rewrite(tmp_path, per_layer=facts["per_layer"])
    with pytest.raises(vg.DamagedGuard, match="shift_norm has 3 values for 4 layers"):
        describe_guard(tmp_path)


def test_where_figures_go(tmp_path):
    assert check_plot(tmp_path, "cmrm") == [tmp_path / "cmrm.png", tmp_path / "cmrm.svg"]
    assert check_plot(tmp_path / "a.SVG") == [tmp_path / "a.SVG"]
    with pytest.raises(ValueError, match=r"ends in '.pdf'; give .png, .svg"):
        check_plot(tmp_path / "a.pdf")


def test_unsuitable_suffix_is_refused_before_anything_is_drawn(folders, tmp_path):
    with pytest.raises(ValueError, match="give .png, .svg"):
        plot_guard(describe_guard(folders["cmrm"]), tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_what_two_engines_are_apart(folders, subject, anchors):
    guards = {name: vg.load_guard(folders[name]) for name in ("vlm_guard", "cmrm")}
    own = seen_on(subject, guards, anchors)
    assert own.states.shape[0] == 32 and own.fired["cmrm"] == [None] * 32 and None not in own.fired["vlm_guard"]
    apart = own.states.clone()
    apart[20, 2, 5] += own.states[:, 2].abs().max() / 4  # beside a picture, at layer 2
    turned = {**own.fired, "vlm_guard": [not own.fired["vlm_guard"][0], *own.fired["vlm_guard"][1:]]}
    told = difference(own, replace(own, engine="vllm", states=apart, fired=turned), "vlm_guard")
    assert (told["fitted_on"], told["compared_with"], told["dtypes"]) == ("transformers", "vllm", ["float32"] * 2)
    assert told["requests"] == 32 and told["gate_alike"] == 31
    assert told["text"] == 0 and told["pictures"] == pytest.approx(0.25, abs=1e-3)
    assert told["by_layer"] == pytest.approx([0, 0, 0.25, 0], abs=1e-3)
    assert difference(own, own, "cmrm")["gate_alike"] is None


@pytest.mark.parametrize("name", ["vlm_guard", "vlm_guard+self_reminder+cmrm"])
def test_it_is_kept_and_printed(name, folders, tmp_path):
    guard = vg.load_guard(folders[name])
    numbers = {"text": 4e-7, "pictures": 0.5, "by_layer": [0.5] * 4, "gate_alike": 15}
    told = {"fitted_on": "vllm", "compared_with": "transformers", "dtypes": ["float32"] * 2, "requests": 16, **numbers}
    guard.facts["model"]["engines"] = told
    guard.save(tmp_path / "one")
    vg.load_guard(tmp_path / "one").save(tmp_path / "two")
    description = describe_guard(tmp_path / "two")
    assert description["model"]["engines"] == told
    said = " ".join(printed(print_guard, description).split())
    assert "by at most 4.0e-07 as text and 5.0e-01 beside pictures" in said and "decides alike on 15" in said
    rewrite(tmp_path / "two", model={**description["model"], "engines": {"text": 1}})
    with pytest.raises(DamagedGuard, match="what it says of engines is not whole"):
        describe_guard(tmp_path / "two")
