"""The statistics of the leaderboard: known answers, and simulations in which the truth is known."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from vlmguard_plugin.statistics.differences import (
    clustered_newcombe,
    detectable_difference,
    holm,
    newcombe,
    paired_difference,
    sign_flip,
    smallest_difference,
)
from vlmguard_plugin.statistics.levels import ALPHA
from vlmguard_plugin.statistics.power import power_of
from vlmguard_plugin.statistics.rates import effective_n, rate, wilson


def shares_of(rng, mean, alike, clusters):
    """By base request, the chance of the event: beta distributed, so that answers of one correlate by `alike`."""
    return rng.beta(mean * (1 - alike) / alike, (1 - mean) * (1 - alike) / alike, size=clusters)


def covers(interval, truth):
    return interval[0] <= truth <= interval[1]


def test_wilson_intervals_of_the_published_figures():
    assert [round(100 * bound) for bound in wilson(15, 100)] == [9, 23]
    assert [round(100 * bound) for bound in wilson(34, 100)] == [25, 44]
    low, high = wilson(0, 20)
    z = 1.959963984540054
    assert low == pytest.approx(0, abs=1e-12) and high == pytest.approx(z**2 / (20 + z**2))


def test_unknown_leaves_the_rate_and_stands_beside_it():
    one = rate({1: True, 2: False, 3: None, 4: None})
    assert (one.k, one.n, one.unknown, one.value, one.unknown_rate) == (1, 2, 2, 0.5, 0.5)
    nothing = rate({1: None})
    assert (nothing.n, nothing.value, nothing.low, nothing.unknown_rate) == (0, None, None, 1.0)


@pytest.mark.parametrize("only_model, only_base", [(0, 6), (3, 12), (7, 7), (1, 0), (0, 0)])
def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs(only_model, only_base):
    pairs = [(True, False)] * only_model + [(False, True)] * only_base + [(True, True)] * 4 + [(False, False)] * 9
    model, base = ({n: pair[side] for n, pair in enumerate(pairs)} for side in (0, 1))
    found = paired_difference(model, base)
    expected = stats.binomtest(only_model, only_model + only_base).pvalue if only_model + only_base else 1.0
    assert found.p == pytest.approx(min(expected, 1.0))
    assert (found.only_model, found.only_base, found.n) == (only_model, only_base, len(pairs))
    assert found.difference == pytest.approx((only_model - only_base) / len(pairs))
    assert found.low <= found.difference <= found.high


def test_pairs_are_the_items_that_both_have_and_know():
    found = paired_difference({1: True, 2: True, 3: None, 4: False}, {2: False, 3: True, 4: None, 5: True})
    assert (found.n, found.only_model) == (1, 1)
    assert paired_difference({1: True}, {2: True}) is None


def test_newcombe_interval():
    # by hand: p1 = 32/50, p2 = 22/50, phi with continuity correction = (20*16 - 12*2 - 25) / sqrt(32*18*22*28)
    phi = (20 * 16 - 12 * 2 - 25) / (32 * 18 * 22 * 28) ** 0.5
    (low1, high1), (low2, high2) = wilson(32, 50), wilson(22, 50)
    down = ((0.64 - low1) ** 2 - 2 * phi * (0.64 - low1) * (high2 - 0.44) + (high2 - 0.44) ** 2) ** 0.5
    up = ((high1 - 0.64) ** 2 - 2 * phi * (high1 - 0.64) * (0.44 - low2) + (0.44 - low2) ** 2) ** 0.5
    assert newcombe(20, 12, 2, 16) == pytest.approx((0.2 - down, 0.2 + up))
    low, high = newcombe(20, 2, 12, 16)
    assert (-high, -low) == pytest.approx(newcombe(20, 12, 2, 16)), "exchanging the two mirrors the interval"


def test_newcombe_interval_covers():
    draws = np.random.default_rng(0).multinomial(60, [0.3, 0.35, 0.1, 0.25], size=300)
    covered = sum(low <= 0.25 <= high for low, high in (newcombe(*map(int, draw)) for draw in draws))
    assert 0.91 <= covered / 300 <= 0.99


@pytest.mark.parametrize("mean", [0.05, 0.3, 0.62, 0.9])
@pytest.mark.parametrize("n", [20, 100])
def test_intervals_of_independent_answers_cover_at_their_nominal_rate(mean, n):
    chances = stats.binom.pmf(range(n + 1), n, mean)  # exact, no simulation needed
    found = [rate({item: item < k for item in range(n)}) for k in range(n + 1)]
    coverage = sum(chance for chance, one in zip(chances, found) if covers((one.low, one.high), mean))
    assert 0.92 <= coverage <= 0.99


@pytest.mark.parametrize(
    "clusters, size, mean, alike",
    [
        (50, 4, 0.3, 0.5),
        (30, 5, 0.1, 0.5),
        (20, 10, 0.5, 0.3),
        (100, 3, 0.05, 0.7),
        (15, 4, 0.3, 0.9),
        (50, 4, 0.3, 0.01),
    ],
)
def test_intervals_of_shared_base_requests_cover_at_their_nominal_rate(clusters, size, mean, alike):
    rng = np.random.default_rng(clusters)
    hits = naive = 0
    for _ in range(800):
        k = rng.binomial(size, shares_of(rng, mean, alike, clusters)).astype(float)
        sizes = np.full(clusters, float(size))
        effective = effective_n(k, sizes)
        share = k.sum() / sizes.sum()
        hits += covers(wilson(share * effective, effective), mean)
        naive += covers(wilson(k.sum(), sizes.sum()), mean)
    assert 0.92 <= hits / 800 <= 0.995
    assert hits >= naive
    if alike >= 0.3:
        assert naive / 800 < 0.9, "the case is one that a plain interval gets wrong"


def test_answers_of_base_requests_of_their_own_are_worth_what_they_are():
    events = {item: item % 3 == 0 for item in range(60)}
    alone = rate(events)
    assert (alone.clusters, alone.effective) == (60, 60)
    assert (alone.low, alone.high) == wilson(20, 60)
    assert rate(events, clusters={item: item for item in events}) == alone


def test_the_design_effect_is_that_of_a_cluster_robust_regression():
    import statsmodels.api as sm

    rng = np.random.default_rng(3)
    clusters = np.repeat(range(40), 5)
    happened = rng.random(200) < shares_of(rng, 0.4, 0.4, 40)[clusters]
    fit = sm.OLS(happened.astype(float), np.ones(200)).fit(
        cov_type="cluster", cov_kwds={"groups": clusters, "use_correction": False}
    )
    count, share = len(set(clusters)), happened.mean()
    variance = fit.cov_params()[0, 0] * count / (count - 1)
    few = (stats.norm.ppf(0.975) / stats.t.ppf(0.975, count - 1)) ** 2
    expected = share * (1 - share) / variance * few
    found = rate({item: bool(one) for item, one in enumerate(happened)}, clusters=dict(enumerate(clusters)))
    assert found.clusters == count
    assert found.effective == pytest.approx(expected)


@pytest.mark.parametrize("clusters, mean, alike", [(30, 0.1, 0.5), (50, 0.5, 0.5), (100, 0.1, 0.8)])
def test_intervals_cover_where_one_base_request_in_ten_has_thirty_answers(clusters, mean, alike):
    rng = np.random.default_rng(clusters)
    sizes = np.where(np.arange(clusters) < clusters // 10, 30.0, 1.0)
    rates, differences, old = 0, 0, 0
    for _ in range(400):
        shares = shares_of(rng, mean, alike, clusters)
        base, model = (rng.binomial(sizes.astype(int), shares).astype(float) for _ in range(2))
        effective, share = effective_n(base, sizes), base.sum() / sizes.sum()
        rates += covers(wilson(share * effective, effective), mean)
        differences += covers(clustered_newcombe(model, base, sizes), 0)
        between = clusters / (clusters - 1) * ((base - share * sizes) ** 2).sum() / sizes.sum() ** 2
        reach = 1.96 * between**0.5
        old += covers((share - reach, share + reach), mean)
    assert 0.925 <= rates / 400 and 0.925 <= differences / 400
    assert old / 400 < 0.91, "the case is one that a plain robust interval gets wrong"


def test_a_base_request_that_is_nearly_all_there_is_tells_hardly_anything():
    sizes = np.array([500.0, 1, 1, 1])
    assert 0 < effective_n(np.array([250.0, 1, 0, 1]), sizes) < 20
    assert 0 < effective_n(np.array([500.0, 1, 0, 1]), sizes) < 2
    assert effective_n(np.array([5.0]), np.array([9.0])) == 1


def test_answers_that_all_agree_count_once_a_base_request():
    found = rate({item: False for item in range(40)}, clusters={item: item // 4 for item in range(40)})
    assert found.effective == pytest.approx(10)
    assert (found.low, found.high) == pytest.approx(wilson(0, 10))
    assert rate({1: True, 2: True}, clusters={1: "a", 2: "a"}).effective == 1


@pytest.mark.parametrize("changes", [[1] * 6, [1, 1, -1, 2, -3, 1, 1], [4, 4, -1, -1, 2], [1], []])
def test_the_sign_flip_test_counts_all_ways_the_signs_can_fall(changes):
    sizes = [abs(change) for change in changes]
    ways = [
        sum(sign * size for sign, size in zip(signs, sizes))
        for signs in np.ndindex(*(2,) * len(sizes))
        for signs in [[2 * s - 1 for s in signs]]
    ]
    expected = sum(abs(way) >= abs(sum(changes)) for way in ways) / len(ways)
    assert sign_flip(np.array(sizes, dtype=float), sum(changes)) == pytest.approx(expected)


def simulated(rng, clusters, size, mean, effect, alike, correlation=0.7):
    """Paired answers whose base requests differ in difficulty, for both models alike but for the effect."""
    shared = rng.random(clusters) < correlation
    one = shares_of(rng, mean, alike, clusters)
    again = shares_of(rng, mean, alike, clusters)
    base = np.repeat(one, size)
    model = np.repeat(np.where(shared, one, again), size)
    happened_base = rng.random(clusters * size) < base
    happened_model = rng.random(clusters * size) < model
    drop = rng.random(clusters * size) < effect / mean
    happened_model &= ~drop
    keys = range(clusters * size)
    return (
        {key: bool(happened_model[key]) for key in keys},
        {key: bool(happened_base[key]) for key in keys},
        {key: key // size for key in keys},
    )


@pytest.mark.parametrize(
    "clusters, size, mean, effect, alike",
    [
        (80, 1, 0.6, 0.0, 0.5),
        pytest.param(40, 4, 0.6, 0.0, 0.5, marks=pytest.mark.slow),
        pytest.param(20, 5, 0.5, 0.0, 0.7, marks=pytest.mark.slow),
    ],
)
def test_no_effect_is_found_no_more_often_than_the_level_says(clusters, size, mean, effect, alike):
    rng = np.random.default_rng(size)
    found = [paired_difference(*simulated(rng, clusters, size, mean, effect, alike)) for _ in range(300)]
    assert sum(one.p < ALPHA for one in found) / 300 <= 0.075
    assert sum(covers((one.low, one.high), 0) for one in found) / 300 >= 0.92
    if size > 1:
        assert sum(one.p_mcnemar < ALPHA for one in found) / 300 > 0.1, "the case is one that McNemar's test gets wrong"


@pytest.mark.parametrize("clusters, size, alike", [(100, 1, 0.5), pytest.param(60, 4, 0.5, marks=pytest.mark.slow)])
def test_a_known_effect_is_found_and_covered(clusters, size, alike):
    rng = np.random.default_rng(7)
    found = [paired_difference(*simulated(rng, clusters, size, 0.6, 0.25, alike)) for _ in range(300)]
    assert sum(one.p < ALPHA for one in found) / 300 >= 0.8
    assert 0.92 <= sum(covers((one.low, one.high), -0.25) for one in found) / 300 <= 0.995
    assert 0.9 <= sum(covers((one.bootstrap_low, one.bootstrap_high), -0.25) for one in found) / 300 <= 0.99


def test_the_bootstrap_is_the_usual_one_over_base_requests():
    rng = np.random.default_rng(11)
    model, base, clusters = simulated(rng, 30, 3, 0.5, 0.2, 0.4)
    found = paired_difference(model, base, clusters)
    sums = np.array([sum(model[key] - base[key] for key in model if clusters[key] == one) for one in range(30)])
    drawn = rng.integers(0, 30, size=(20000, 30))
    low, high = np.quantile(sums[drawn].sum(axis=1) / 90, [0.025, 0.975])
    assert found.bootstrap_low == pytest.approx(low, abs=0.015) and found.bootstrap_high == pytest.approx(
        high, abs=0.015
    )


def test_items_that_only_one_has_are_counted_never_compared():
    found = paired_difference({1: True, 2: False, 3: None, 9: True}, {1: False, 2: False, 3: True, 4: True, 5: False})
    assert (found.n, found.unmatched_model, found.unmatched_base, found.undecided) == (2, 1, 2, 1)


def test_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    for count in (1, 2, 3, 10):
        p_values = [float(p) for p in np.random.default_rng(count).uniform(0, 0.3, count).round(2)]
        assert holm(p_values) == multipletests(p_values, method="holm")[1].tolist(), "statsmodels' own, to the last bit"


def test_the_smallest_difference_is_the_first_that_the_test_calls_significant():
    assert smallest_difference(40, 40) == 6 / 40
    changed = {item: item < 6 for item in range(40)}
    assert paired_difference(changed, dict.fromkeys(range(40), False)).p < ALPHA
    changed[5] = False
    assert paired_difference(changed, dict.fromkeys(range(40), False)).p > ALPHA
    assert smallest_difference(5, 5) is None and smallest_difference(40, 5) is None
    few = {item: True for item in range(5)}
    assert paired_difference(few, dict.fromkeys(few, False)).detectable is None, "no difference at all can be found"


@pytest.mark.parametrize(
    "n, discordant",
    [(8, 0.4), (12, 0.1), (16, 0.3), (20, 0.1), (20, 0.3), (20, 0.6), (40, 0.3), (100, 0.05), (100, 0.2), (400, 0.3)],
)
def test_the_detectable_difference_is_found_four_times_in_five(n, discordant):
    difference = detectable_difference(n, discordant)
    changed = max(discordant, difference)
    rng = np.random.default_rng(n)
    draws = rng.multinomial(n, [(changed + difference) / 2, max(changed - difference, 0) / 2, 1 - changed], size=1500)
    hits = sum(sign_flip(np.ones(up + down), up - down) < ALPHA for up, down, _ in draws.tolist())
    assert 0.77 <= hits / 1500 <= 0.83
    assert power_of(n, changed, difference) == pytest.approx(hits / 1500, abs=0.04)


def test_shared_base_requests_make_the_detectable_difference_larger():
    model = {item: item % 8 < 4 for item in range(80)}
    base = {item: item % 16 < 8 for item in range(80)}
    alone = paired_difference(model, base)
    shared = paired_difference(model, base, {item: item // 4 for item in range(80)})
    assert shared.detectable > alone.detectable and shared.p_mcnemar == alone.p
    assert shared.clusters == 20 and math.isclose(shared.difference, alone.difference)
    assert detectable_difference(3, 0.0) is None


@pytest.mark.slow
def test_simulated_predictions_from_files_to_the_verdict(tmp_path):
    """12 boards of prediction files: one guard that helps, one that does nothing, one that refuses everything more."""
    from vlmguard_plugin.leaderboard.build import build_board
    from vlmguard_plugin.leaderboard.verdict import verdicts

    rng = np.random.default_rng(2)
    requests, templates, boards = 50, 3, 12
    refuses = {"m": (0.3, 0.02), "m_cmrm": (0.7, 0.02), "m_tbop": (0.3, 0.02), "m_ecso": (0.3, 0.4)}
    found = {guard: {"lowers": 0, "harms": 0, "covered": 0} for guard in list(refuses)[1:]}
    for number in range(boards):
        place = tmp_path / str(number)
        hard = rng.normal(size=requests)  # what the templates of one request share
        for model, (harmful, harmless) in refuses.items():
            shift = stats.norm.ppf(harmful) * math.sqrt(2)  # so that the rate over all requests is `harmful`
            lines = ["index\tquestion\tharmful\tbase_request\tprediction"]
            for request in range(requests):
                for template in range(templates):
                    said = [hard[request] + rng.normal() < shift, rng.random() < harmless]
                    for mark, refused in zip((1, 0), said):
                        text = "I'm sorry, but I can't assist with that." if refused else "A stand-in for an answer."
                        index = 1 + 2 * (request * templates + template) + mark
                        base = f"{request}" if mark else f"harmless {request} {template}"
                        lines.append(f"{index}\tTemplate {template} of {request}?\t{mark}\t{base}\t{text}")
            (place / model).mkdir(parents=True)
            (place / model / f"{model}_S.tsv").write_text("\n".join(lines) + "\n")
        board = build_board(place)
        for verdict in verdicts(board):
            mine = found[verdict.model]
            mine["lowers"] += bool(verdict.lowers)
            mine["harms"] += bool(verdict.harms)
            difference = board.blocks[0].entry(verdict.model).differences["attack_success"]
            assert (difference.n, difference.clusters) == (requests * templates, requests)
            mine["covered"] += covers((difference.low, difference.high), refuses["m"][0] - refuses[verdict.model][0])
    assert found["m_cmrm"]["lowers"] == boards and found["m_cmrm"]["harms"] <= 2
    assert found["m_tbop"]["lowers"] <= 2 and found["m_tbop"]["harms"] <= 2
    assert found["m_ecso"]["harms"] == boards and found["m_ecso"]["lowers"] <= 2
    assert all(one["covered"] >= 9 for one in found.values())
