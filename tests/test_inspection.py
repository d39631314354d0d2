"""Inspection: classification and PCA against independent figures, readable files, tables that say what was found."""

import json
import sys
import xml.etree.ElementTree as xml
from io import StringIO

import numpy as np
import pytest
from helpers.tiny_models import tiny_llava
from PIL import Image

import vlmguard_plugin as vg

pytest.importorskip("statsmodels", reason="intervals need statsmodels")

from rich.console import Console  # noqa: E402

from vlmguard_plugin.inspection.inspection import (  # noqa: E402
    FACT_TITLES,
    check_plot,
    describe_guard,
    measure_shift,
    pair_left_out,
    plot_guard,
    plot_shift,
    principal_plane,
    print_guard,
    print_shift,
)
from vlmguard_plugin.statistics.rates import wilson  # noqa: E402

CONDITIONS = ("text", "blank", "image")


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


@pytest.fixture
def drawing():
    pytest.importorskip("matplotlib", reason="figures need the extra plot")


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


@pytest.fixture(scope="module")
def found(subject, anchors):
    return measure_shift(subject, anchors)


def printed(show, what):
    console = Console(file=StringIO(), width=120)
    show(what, console)
    return console.file.getvalue()


def written(folder, calibration):
    """The folder's guard.json with a calibration in it; describe_guard's account of it."""
    facts = json.loads((folder / "guard.json").read_text())
    (folder / "guard.json").write_text(json.dumps({**facts, "calibration": calibration}))
    return describe_guard(folder)


def check_readable(files):
    for file in files:
        assert file.stat().st_size > 5000
        if file.suffix == ".png":
            with Image.open(file) as picture:
                picture.load()
                assert min(picture.size) > 300 and len(set(picture.convert("RGB").resize((90, 90)).tobytes())) > 10
        else:
            assert xml.parse(file).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def loop_accuracy(fitted_on, applied_to):
    """The definition, pair by pair and by distances."""
    right = 0
    pairs = len(fitted_on[0])
    for left_out in range(pairs):
        others = [pair for pair in range(pairs) if pair != left_out]
        means = [np.mean([side[pair] for pair in others], axis=0) for side in fitted_on]
        for truth in (0, 1):
            distances = [np.linalg.norm(applied_to[truth][left_out] - mean) for mean in means]
            right += int(np.argmin(distances)) == truth
    return right


@pytest.mark.parametrize("gap", [0.0, 0.4, 1.5])
@pytest.mark.parametrize("pairs, width", [(2, 3), (9, 4), (30, 50)])
def test_pair_left_out_is_the_loop_over_pairs(pairs, width, gap):
    random = np.random.default_rng(pairs + width)
    text, image = random.normal(size=(2, 2, pairs, width))
    text[0] += gap
    image[0] += gap
    assert pair_left_out(text, text) == (loop_accuracy(text, text), 2 * pairs)
    assert pair_left_out(text, image) == (loop_accuracy(text, image), 2 * pairs)


def test_pair_left_out_where_the_answer_is_known():
    noise = np.random.default_rng(0).normal(size=(10, 6))
    apart = np.stack([noise + 100, noise - 100])
    assert pair_left_out(apart, apart) == (20, 20)
    assert pair_left_out(apart, apart[::-1]) == (0, 20), "the text-only means must be what decides"
    assert pair_left_out(apart, apart + 1000) == (10, 20), "a shift past the midpoint makes all look harmful"
    same = np.stack([noise, noise])
    assert pair_left_out(same, same) == (10, 20), "equal distance counts as harmless"
    misled = np.array([[[0.0], [4.0], [4.0]], [[9.0], [1.0], [1.0]]])
    assert pair_left_out(misled, misled) == (0, 6), "without pair 0 the means are 4 and 1, without another 2 and 5"


def test_principal_plane_is_the_eigenvectors_of_the_covariance():
    states = np.random.default_rng(1).normal(size=(40, 7)) * np.array([9, 5, 3, 2, 1, 1, 1]) + 50
    components, ratios = principal_plane(states)
    values, vectors = np.linalg.eigh(np.cov(states, rowvar=False))
    np.testing.assert_allclose(ratios, values[::-1][:2] / values.sum(), rtol=1e-9)
    np.testing.assert_allclose(np.abs(components @ vectors[:, ::-1][:, :2]), np.eye(2), atol=1e-9)
    assert principal_plane(np.ones((5, 3)))[1].tolist() == [0, 0]


def test_measured_shift_is_that_of_the_recorded_states(subject, anchors):
    colours = ["red", "green", "blue", "yellow", "black", "white", "pink", "gray"]
    images = [Image.new("RGB", (30, 40), colour) for colour in colours]
    found = measure_shift(subject, anchors, images.__getitem__, layers=[3, 1])
    assert json.loads(json.dumps(found)) == found
    assert [one["layer"] for one in found["layers"]] == [1, 3]
    sides = (anchors.harmful, anchors.harmless)
    asked = {
        "text": lambda text, number: vg.Query(text),
        "blank": lambda text, number: vg.Query(text, (vg.BlankImage("white", (30, 40)),)),
        "image": lambda text, number: vg.Query(text, (images[number],)),
    }
    states = {
        condition: [subject.record([query(text, i) for i, text in enumerate(side)]).double() for side in sides]
        for condition, query in asked.items()
    }
    for one in found["layers"]:
        here = {condition: [side[:, one["layer"]].numpy() for side in both] for condition, both in states.items()}
        everything = np.concatenate([side for both in here.values() for side in both])
        centred = everything - everything.mean(axis=0)
        groups = {c: [one["coordinates"][c][side] for side in ("harmful", "harmless")] for c in CONDITIONS}
        drawn = np.concatenate([group for both in groups.values() for group in both])
        variances = np.linalg.eigvalsh(np.cov(centred, rowvar=False))[::-1]
        np.testing.assert_allclose(one["explained_variance_ratio"], variances[:2] / variances.sum(), rtol=1e-4)
        np.testing.assert_allclose(drawn.var(axis=0, ddof=1), variances[:2], rtol=1e-4)
        means = {condition: [np.mean(group, axis=0) for group in both] for condition, both in groups.items()}
        assert sum(means["image"])[0] >= sum(means["text"])[0] and means["text"][0][1] >= means["text"][1][1]
        for condition in CONDITIONS:
            rate = one["separability"][condition]
            assert (rate["k"], rate["n"]) == (loop_accuracy(here[condition], here[condition]), 16)
            assert rate["accuracy"] == rate["k"] / 16 and (rate["low"], rate["high"]) == wilson(rate["k"], 16)
        assert set(one["from_text"]) == set(one["shift"]) == {"blank", "image"}
        for condition in ("blank", "image"):
            assert one["from_text"][condition]["k"] == loop_accuracy(here["text"], here[condition])
            mean_shift = np.mean(np.concatenate(here[condition]) - np.concatenate(here["text"]), axis=0)
            length = np.linalg.norm(mean_shift)
            over_state = length / np.linalg.norm(np.concatenate(here["text"]), axis=1).mean()
            plane = np.linalg.svd(centred, full_matrices=False)[2][:2]
            expected = (length, over_state, np.linalg.norm(plane @ mean_shift) / length)
            np.testing.assert_allclose(list(one["shift"][condition].values()), expected, rtol=1e-3)


def test_each_pair_has_its_picture_and_a_blank_of_the_same_size(processor, anchors):
    class Noting(vg.HuggingFaceSubject):
        """Keeps what it was asked to record."""

        def record(self, queries, **options):
            self.__dict__.setdefault("asked", []).append(queries)
            return super().record(queries, **options)

    noting = Noting(tiny_llava(layers=2), processor)
    sizes = [(20 + number, 30) for number in range(8)]
    measure_shift(noting, anchors, lambda number: Image.new("RGB", sizes[number]))
    text, blank, pictured = noting.asked
    assert [query.text for query in text] == [query.text for query in pictured] == anchors.harmful + anchors.harmless
    assert all(query.images == () for query in text)
    assert [query.images[0].size for query in pictured] == 2 * sizes
    assert [query.images for query in blank] == [(vg.BlankImage("white", size),) for size in 2 * sizes]


def test_fewer_pairs_and_what_there_is_not(subject, anchors):
    found = measure_shift(subject, anchors, layers=[0], pairs=3)
    assert found["anchors"]["pairs"] == 3 and found["layers"][0]["separability"]["text"]["n"] == 6
    with pytest.raises(ValueError, match=r"layers is \[1, 4\].*from 0 to 3"):
        measure_shift(subject, anchors, layers=[1, 4])
    with pytest.raises(ValueError, match="layers is"):
        measure_shift(subject, anchors, layers=[])
    for pairs in (1, 9):
        with pytest.raises(ValueError, match=f"{pairs} anchor pairs asked for; give 2 .* to 8"):
            measure_shift(subject, anchors, pairs=pairs)


def test_shift_is_printed_and_drawn(found, drawing, tmp_path):
    said = printed(print_shift, found)
    rate = found["layers"][2]["separability"]["image"]
    assert f"{100 * rate['accuracy']:.1f} [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]" in said
    assert "8 anchor pairs" in said and "…" not in said
    files = plot_shift(found, tmp_path / "new" / "shift")
    assert files == [tmp_path / "new" / "shift.png", tmp_path / "new" / "shift.svg"]
    check_readable(files)
    assert "<!-- text + blank image, harmless -->" in files[1].read_text()


def test_shift_of_a_deep_model_is_drawn_in_twelve_panels(found, drawing, tmp_path):
    deep = {**found, "layers": [{**found["layers"][layer % 4], "layer": layer} for layer in range(30)]}
    (file,) = plot_shift(deep, tmp_path / "deep.svg")
    titles = [line for line in file.read_text().splitlines() if "<!-- Layer " in line]
    assert len(titles) == 12 and "Layer 0" in titles[0] and "Layer 29" in titles[-1]


@pytest.mark.parametrize("name", ["vlm_guard", "cmrm"])
def test_fitted_guard_is_described_printed_and_drawn(name, folders, subject, anchors, drawing, tmp_path):
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


def test_what_is_drawn_of_each_guard(folders, drawing, tmp_path):
    (file,) = plot_guard(describe_guard(folders["vlm_guard"]), tmp_path / "one.svg")
    drawn = file.read_text()
    for text in ("Singular values", "harmless anchors", "harmful anchors", "1st", "Gate threshold"):
        assert f"<!-- {text} -->" in drawn
    (file,) = plot_guard(describe_guard(folders["cmrm"]), tmp_path / "two.svg")
    assert "Length of the fitted shift" in file.read_text() and "Singular" not in file.read_text()
    sample = describe_guard(folders["cmrm_sample"])
    assert "no numbers per layer" in printed(print_guard, sample)
    with pytest.raises(ValueError, match="'cmrm_sample' has nothing to draw"):
        plot_guard(sample, tmp_path / "none.png")


def test_a_guard_that_edits_no_hidden_states(folders, tmp_path):
    description = describe_guard(folders["self_reminder"])
    assert description["edited_layers"] == [] and description["per_layer"] == {} and description["parts"] == []
    said = printed(print_guard, description)
    assert "self_reminder" in said and "edits layers" not in said


def test_a_composition_is_its_parts(folders, drawing, tmp_path):
    description = describe_guard(folders["vlm_guard+self_reminder+cmrm"])
    assert json.loads(json.dumps(description)) == description
    assert [part["guard"] for part in description["parts"]] == ["vlm_guard", "self_reminder", "cmrm"]
    assert [part["edited_layers"] for part in description["parts"]] == [[3], [], [0]]
    assert description["parts"][2]["per_layer"] == describe_guard(folders["cmrm"])["per_layer"]
    rows = [line for line in printed(print_guard, description).splitlines() if line.startswith("│")]
    assert [row for row, text in enumerate(rows) if "*" in text] == [3, 4]
    (file,) = plot_guard(description, tmp_path / "composed.svg")
    for title in ("vlm_guard: Singular values", "cmrm: Length of the fitted shift"):
        assert f"<!-- {title} -->" in file.read_text()


@pytest.mark.parametrize("name", ["tbop", "nullsteer", "refusal_direction", "shiftdc"])
def test_every_fact_of_the_other_guards_is_drawn_under_a_title_of_its_own(name, subject, anchors, drawing, tmp_path):
    vg.build_guard(name).fit(subject, anchors).save(tmp_path)
    description = describe_guard(tmp_path)
    sides = ("_harmful_anchors", "_harmless_anchors")
    facts = {fact.removesuffix(sides[0]).removesuffix(sides[1]) for fact in description["per_layer"]}
    assert facts and facts <= set(FACT_TITLES)
    (file,) = plot_guard(description, tmp_path / "guard.svg")
    assert all(f"<!-- {FACT_TITLES[fact][0]} -->" in file.read_text() for fact in facts)


def test_facts_of_an_unknown_guard(folders, drawing, tmp_path):
    description = describe_guard(folders["cmrm"])
    facts = {"probe_auc": [0.5, None, 0.7, 1], "ranks": [[1, 2, 3, 4], [1], [2], []], "note": ["a", "b", "c", "d"]}
    said = printed(print_guard, {**description, "per_layer": facts})
    assert "1 2 3 ..." in said and "probe auc" in said
    (file,) = plot_guard({**description, "per_layer": facts}, tmp_path / "own.svg")
    assert "Probe auc" in file.read_text() and "Note" not in file.read_text()


def test_calibration_is_printed_and_drawn(folders, drawing, tmp_path):
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
        assert f"<!-- {text} -->" in files[1].read_text()

    none = written(folders["cmrm_sample"], {**CALIBRATION, "chosen": None})
    assert "No point met the bound" in printed(print_guard, none)
    (file,) = plot_guard(none, tmp_path / "none.svg")
    assert "none met the bound" in file.read_text() and "<!-- chosen -->" not in file.read_text()


def test_damaged_guards_are_named(folders, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no guard.json"):
        describe_guard(tmp_path)
    with pytest.raises(vg.DamagedGuard, match="calibration lacks points"):
        written(folders["cmrm_sample"], {name: value for name, value in CALIBRATION.items() if name != "points"})
    facts = json.loads((folders["cmrm"] / "guard.json").read_text())
    for name in ("guard.json", "guard.safetensors"):
        (tmp_path / name).write_bytes((folders["cmrm"] / name).read_bytes())
    facts["per_layer"]["shift_norm"].pop()
    (tmp_path / "guard.json").write_text(json.dumps(facts))
    with pytest.raises(vg.DamagedGuard, match="shift_norm has 3 values for 4 layers"):
        describe_guard(tmp_path)


def test_where_figures_go(drawing, tmp_path):
    assert check_plot(tmp_path, "cmrm") == [tmp_path / "cmrm.png", tmp_path / "cmrm.svg"]
    assert check_plot(tmp_path / "a.SVG") == [tmp_path / "a.SVG"]
    with pytest.raises(ValueError, match=r"ends in '.pdf'; give .png, .svg"):
        check_plot(tmp_path / "a.pdf")


def test_unsuitable_suffix_is_refused_before_anything_is_drawn(folders, found, drawing, tmp_path):
    with pytest.raises(ValueError, match="give .png, .svg"):
        plot_guard(describe_guard(folders["cmrm"]), tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="give .png, .svg"):
        plot_shift(found, tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(found, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install vlmguard_plugin\[plot\]"):
        plot_shift(found, tmp_path / "a.png")
