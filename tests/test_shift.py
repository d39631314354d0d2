"""The shift that pictures cause: classification and PCA against independent figures, readable tables and figures."""

import json
import sys

import numpy as np
import pytest
from helpers.readable import check_readable, printed
from helpers.tiny_models import tiny_llava
from PIL import Image

import vlmguard_plugin as vg
from vlmguard_plugin.anchors import Anchors
from vlmguard_plugin.inspection import measure_shift, plot_shift, print_shift
from vlmguard_plugin.inspection.shift import pair_left_out, principal_plane
from vlmguard_plugin.statistics.rates import wilson

CONDITIONS = ("text", "blank", "image")


@pytest.fixture(scope="module")
def shift(subject, anchors):
    return measure_shift(subject, anchors)


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
    shift = measure_shift(subject, anchors, images.__getitem__, layers=[3, 1])
    assert json.loads(json.dumps(shift)) == shift
    assert [layer["layer"] for layer in shift["layers"]] == [1, 3]
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
    for layer in shift["layers"]:
        here = {condition: [side[:, layer["layer"]].numpy() for side in both] for condition, both in states.items()}
        everything = np.concatenate([side for both in here.values() for side in both])
        centred = everything - everything.mean(axis=0)
        groups = {c: [layer["coordinates"][c][side] for side in ("harmful", "harmless")] for c in CONDITIONS}
        drawn = np.concatenate([group for both in groups.values() for group in both])
        variances = np.linalg.eigvalsh(np.cov(centred, rowvar=False))[::-1]
        np.testing.assert_allclose(layer["explained_variance_ratio"], variances[:2] / variances.sum(), rtol=1e-4)
        np.testing.assert_allclose(drawn.var(axis=0, ddof=1), variances[:2], rtol=1e-4)
        means = {condition: [np.mean(group, axis=0) for group in both] for condition, both in groups.items()}
        assert sum(means["image"])[0] >= sum(means["text"])[0] and means["text"][0][1] >= means["text"][1][1]
        for condition in CONDITIONS:
            rate = layer["separability"][condition]
            assert (rate["k"], rate["n"]) == (loop_accuracy(here[condition], here[condition]), 16)
            assert rate["accuracy"] == rate["k"] / 16 and (rate["low"], rate["high"]) == wilson(rate["k"], 16)
        assert set(layer["from_text"]) == set(layer["shift"]) == {"blank", "image"}
        for condition in ("blank", "image"):
            assert layer["from_text"][condition]["k"] == loop_accuracy(here["text"], here[condition])
            mean_shift = np.mean(np.concatenate(here[condition]) - np.concatenate(here["text"]), axis=0)
            length = np.linalg.norm(mean_shift)
            over_state = length / np.linalg.norm(np.concatenate(here["text"]), axis=1).mean()
            plane = np.linalg.svd(centred, full_matrices=False)[2][:2]
            expected = (length, over_state, np.linalg.norm(plane @ mean_shift) / length)
            np.testing.assert_allclose(list(layer["shift"][condition].values()), expected, rtol=1e-3)


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
    shift = measure_shift(subject, anchors, layers=[0], pairs=3)
    assert shift["anchors"]["pairs"] == 3 and shift["layers"][0]["separability"]["text"]["n"] == 6
    with pytest.raises(ValueError, match=r"layers is \[1, 4\].*from 0 to 3"):
        measure_shift(subject, anchors, layers=[1, 4])
    with pytest.raises(ValueError, match="layers is"):
        measure_shift(subject, anchors, layers=[])
    for pairs in (1, 9):
        with pytest.raises(ValueError, match=f"{pairs} anchor pairs were asked for; give 2 .* to 8"):
            measure_shift(subject, anchors, pairs=pairs)
    with pytest.raises(ValueError, match="^there are 1 anchor pairs; give at least 2, since each is left out once$"):
        measure_shift(subject, Anchors(anchors.pairs[:1]))


def test_shift_is_printed_and_drawn(shift, tmp_path):
    said = printed(print_shift, shift)
    rate = shift["layers"][2]["separability"]["image"]
    assert f"{100 * rate['accuracy']:.1f} [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]" in said
    assert "8 anchor pairs" in said and "…" not in said
    files = plot_shift(shift, tmp_path / "new" / "shift")
    assert files == [tmp_path / "new" / "shift.png", tmp_path / "new" / "shift.svg"]
    check_readable(files)
    assert ">text + blank image, harmless<" in files[1].read_text()


def test_shift_of_a_deep_model_is_drawn_in_twelve_panels(shift, tmp_path):
    deep = {**shift, "layers": [{**shift["layers"][layer % 4], "layer": layer} for layer in range(30)]}
    (file,) = plot_shift(deep, tmp_path / "deep.svg")
    titles = [line for line in file.read_text().splitlines() if ">Layer " in line]
    assert len(titles) == 12 and "Layer 0" in titles[0] and "Layer 29" in titles[-1]


def test_without_matplotlib_the_extra_is_named(shift, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install vlmguard_plugin\[plot\]"):
        plot_shift(shift, tmp_path / "a.png")


def test_unsuitable_suffix_is_refused_before_anything_is_drawn(shift, tmp_path):
    with pytest.raises(ValueError, match="give .png, .svg"):
        plot_shift(shift, tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())
