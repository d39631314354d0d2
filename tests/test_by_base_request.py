"""What holds whatever base requests look like: lopsided changes, few or unequal ones, scores between, F1."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from vlmguard_plugin.runs.answers import Item
from vlmguard_plugin.statistics.by_base_request import lopsided_p
from vlmguard_plugin.statistics.differences import clustered_newcombe, paired_difference, sign_flip
from vlmguard_plugin.statistics.levels import ALPHA
from vlmguard_plugin.statistics.measures import outcomes, score_of
from vlmguard_plugin.statistics.rates import effective_n, rate, wilson


def lopsided(rng, clusters, size, rare):
    """Changes that are nothing on average: rarely all answers of a base request one way, else a few the other."""
    up = rng.binomial(size, rare / (1 - rare), size=clusters)
    return np.where(rng.random(clusters) < rare, -size, up).astype(float)


@pytest.mark.parametrize("clusters, size, rare", [(20, 10, 0.1), (20, 10, 0.05), (40, 10, 0.05), (80, 10, 0.02)])
def test_lopsided_changes_are_not_taken_for_an_effect(clusters, size, rare):
    rng = np.random.default_rng(clusters)
    sizes = np.full(clusters, float(size))
    alone = safe = 0
    for _ in range(500):
        changes = lopsided(rng, clusters, size, rare)
        flipped = sign_flip(np.abs(changes[changes != 0]), float(changes.sum()))
        alone += flipped < ALPHA
        safe += max(flipped, lopsided_p(changes, sizes)) < ALPHA
    assert safe / 500 <= 0.06 < 0.08 < alone / 500


def test_the_page_is_told_where_the_sign_flip_test_cant_be_trusted():
    base = {item: False for item in range(200)}
    model = {item: item % 5 == 0 and item < 160 for item in base}
    clusters = {item: item // 5 for item in base}
    found = paired_difference(model, base, clusters)
    assert (found.p_sign_flip, found.test) == (pytest.approx(2 * 0.5**32), "sign_flip")
    assert not found.lopsided and found.p > found.p_sign_flip, "32 of 40 base requests are enough all the same"
    few = paired_difference({item: item % 5 == 0 and item < 70 for item in base}, base, clusters)
    assert few.lopsided and few.p_sign_flip < ALPHA < few.p and not few.significant
    assert paired_difference(model, base).p_sign_flip is None


def test_scores_between_right_and_wrong_are_compared_by_students_t():
    rng = np.random.default_rng(5)
    base = dict(enumerate(np.round(rng.random(40), 1).tolist()))
    model = {item: min(score + 0.1 * (item % 3), 1.0) for item, score in base.items()}
    found = paired_difference(model, base)
    changes = [model[item] - base[item] for item in base]
    expected = stats.ttest_1samp(changes, 0.0)
    assert (found.test, found.detectable) == ("t", None)
    assert found.p == pytest.approx(expected.pvalue) and found.difference == pytest.approx(np.mean(changes))
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    one = rate(base)
    assert one.value == pytest.approx(np.mean(list(base.values()))) and one.effective > one.n, "less spread than a coin"


def test_f1_and_its_bootstrap_are_those_of_the_libraries():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(8)
    true = rng.random(150) < 0.5
    said = np.where(rng.random(150) < 0.8, true, ~true)
    answers = {
        number: Item((str(number), ""), "right" if one == other else "wrong", None, "", "", positive=bool(one))
        for number, (one, other) in enumerate(zip(true, said))
    }
    found = rate(outcomes(answers)["f1"])
    assert set(outcomes(answers)) == {"f1"} and found.value == pytest.approx(f1_score(true, said))
    drawn = stats.bootstrap(
        (true, said), f1_score, paired=True, vectorized=False, n_resamples=299, method="percentile", rng=1
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((drawn.low, drawn.high), abs=0.025)
    worse = {key: replace(item, label="wrong") if key < 20 else item for key, item in answers.items()}
    change = paired_difference(outcomes(worse)["f1"], outcomes(answers)["f1"])
    assert change.difference == pytest.approx(score_of(worse) - score_of(answers)) and change.test == "t"
    assert change.low < change.difference < change.high < 0 and change.p < 0.01


@pytest.mark.parametrize(
    "sizes", [[20] * 2, [20] * 5, [30] * 2 + [1] * 18, [30] * 5 + [1] * 45, [1] * 20 + [5] * 6 + [15] * 2]
)
def test_differences_of_few_or_unequal_base_requests_whose_answers_are_all_alike_are_covered(sizes):
    rng = np.random.default_rng(len(sizes))
    weights = np.array(sizes, dtype=float)
    covered = 0
    for _ in range(250):
        before = rng.random(len(sizes)) < 0.6
        after = before & (rng.random(len(sizes)) < 0.7)
        low, high = clustered_newcombe(after * weights, before * weights, weights)
        covered += low <= -0.6 * 0.3 <= high
    assert covered / 250 >= 0.93


def test_answers_that_are_all_alike_in_very_unequal_base_requests_are_covered():
    rng = np.random.default_rng(3)
    sizes, covered = np.where(np.arange(30) < 3, 30.0, 1.0), 0
    for _ in range(300):
        found = (rng.random(30) < 0.05) * sizes
        effective = effective_n(found, sizes)
        low, high = wilson(found.sum() / sizes.sum() * effective, effective)
        covered += low <= 0.05 <= high
    assert covered / 300 >= 0.93


def test_a_small_base_request_the_other_way_does_not_make_a_rare_large_one_seen():
    sizes = np.array([1.0] * 10 + [10.0] * 10)
    changes = -0.1 * sizes
    missed = lopsided_p(changes, sizes)
    changes[0] = 1.0
    assert lopsided_p(changes, sizes) > 0.5 * missed > 0.05, "one answer tells no more than none of a large change"
    equal = np.full(40, 5.0)
    steady = np.full(40, -2.0) + np.tile([0.5, -0.5], 20)
    steady[:4] = 1.0
    assert lopsided_p(steady, equal) < 0.01, "base requests of one size count as they are"
