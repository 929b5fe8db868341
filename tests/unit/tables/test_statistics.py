"""Statistics against scipy called differently, statsmodels, and by hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from layerlottery.tables import statistics
from layerlottery.tables.statistics import (
    ROUNDING,
    Estimate,
    averages,
    bootstraps,
    by_size,
    described,
    estimate,
    geometric_mean,
    holm,
    interval_ends,
    kendall_w,
    outcome,
    outcome_of,
    p_above,
    p_below,
    p_differs,
    p_within,
    saved,
    seed_means,
    tolerance,
    verdicts,
    yekutieli,
)


def bootstrap(values, **settings):
    return tuple(bootstraps(np.array([values]), **settings)[0].tolist())


def p_tolerance(deltas, xi, side):
    return float(side(described(np.array([deltas])), -xi - ROUNDING)[0])


def p_zero(deltas):
    return float(p_differs(described(np.array([deltas])))[0])


def inferred(mean, low, high, *, df=7.0, level=0.05):
    """An inference whose interval at this level is (low, high)."""
    se = (high - low) / 2 / stats.t.ppf(1 - level / 2, df)
    return pd.DataFrame({"mean": [mean], "se": [se], "df": [df], "seeds": [2]})


def sample(seed, size, *, mean=-0.4):
    return np.random.default_rng(seed).normal(mean, 1.3, size).tolist()


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("size", [2, 3, 5, 30])
def test_estimate_agrees_with_scipy(size, confidence):
    values = np.random.default_rng(size).normal(-0.4, 1.3, size).tolist()
    found = estimate(values, confidence=confidence)
    low, high = stats.t.interval(confidence, size - 1, loc=np.mean(values), scale=stats.sem(values))
    again = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
    assert (found.low, found.high) == pytest.approx((again.low, again.high), rel=1e-9)
    assert found.mean == pytest.approx(math.fsum(values) / size)
    assert found.sd == pytest.approx(np.std(values, ddof=1))


def test_estimate_by_hand():
    # t(0.975, 2) = 4.302653, sd = 1, n = 3
    found = estimate([1.0, 2.0, 3.0], confidence=0.95)
    assert (found.mean, found.sd) == (2.0, 1.0)
    assert found.high - found.mean == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_one_value_has_a_mean_only():
    assert estimate([1.5], confidence=0.95) == Estimate(1.5, None, None, None)


def test_values_that_agree_by_chance_have_no_interval_and_no_test():
    assert estimate([0.25, 0.25, 0.25], confidence=0.95) == Estimate(0.25, 0.0, None, None)
    found = described(np.array([[0.25, 0.25, 0.25]]))
    assert np.isnan([found.loc[0, "se"], p_zero([0.25, 0.25]), p_differs(found)[0], p_above(found, -1)[0]]).all()


def test_a_known_number_of_images_gives_them_one():
    # three seeds that agree, of 50 images: one answer more or less is 2 percentage points
    found = described(np.array([[1.0, 1.0, 1.0], [0.0, 10.0, 20.0]]), floor=2.0)
    assert found["se"].tolist() == [2.0, pytest.approx(10 / math.sqrt(3))]
    assert found["df"].tolist() == [49, 2]
    assert p_differs(found)[0] == pytest.approx(2 * stats.t.sf(0.5, 49))


@pytest.mark.parametrize(
    ("low", "high", "xi", "expected"),
    [
        (0.1, 0.5, 0.0, "better"),
        (-0.5, -0.1, 0.0, "worse"),
        (-0.1, 0.5, 0.0, "undecided"),
        (-0.9, 0.9, 1.0, "equivalent"),
        # proven better or worse, but by less than matters
        (0.1, 0.9, 1.0, "equivalent"),
        (-0.9, -0.1, 1.0, "equivalent"),
        (0.1, 1.1, 1.0, "better"),
        (-1.1, -0.1, 1.0, "worse"),
        (-0.9, 1.1, 1.0, "undecided"),
        (-1.1, 0.9, 1.0, "undecided"),
        # a tolerance that can't be computed declares nothing equivalent
        (-0.1, 0.1, np.nan, "undecided"),
        (0.1, 0.2, np.nan, "better"),
    ],
)
@pytest.mark.parametrize("level", [0.05, 0.2])
def test_verdict_is_what_the_interval_says(low, high, xi, expected, level):
    found = inferred((low + high) / 2, low, high, level=level)
    assert np.ravel(interval_ends(found, level)).tolist() == pytest.approx([low, high])
    assert verdicts(found, p_differs(found), p_within(found, xi), level).tolist() == [expected]


def test_one_seed_has_no_verdict():
    found = described(np.array([[3.0, np.nan]]))
    assert verdicts(found, p_differs(found), p_within(found, 1.0), 0.05).tolist() == ["single seed"]


def test_tolerance():
    assert tolerance(1.5, [90.0]) == 1.5
    assert tolerance("sd", [90.0, 92.0, 94.0]) == 2.0
    assert math.isnan(tolerance("sd", [90.0]))


def test_draws_are_averaged_within_their_seed():
    values = [(3, 10.0), (1, 4.0), (1, 1.0), (1, 1.0), (3, 20.0), (2, 7.0)]
    assert list(seed_means(values).items()) == [(1, 2.0), (2, 7.0), (3, 15.0)]
    assert seed_means([(0, 2.0), (0, 8.0)], geometric_mean) == {0: pytest.approx(4.0)}


def test_bootstrap_agrees_with_every_possible_resample(monkeypatch):
    monkeypatch.setattr(statistics, "BOOTSTRAPPED", 2)
    # 4 values have 4^4 = 256 resamples; BCa by its definition on all of them, each equally likely
    values = [0.0, 1.0, 3.0, 8.0]
    means = np.sort([np.mean(one) for one in itertools.product(values, repeat=4)])
    below = (np.sum(means < 3.0) + np.sum(means <= 3.0)) / 2 / len(means)
    bias = stats.norm.ppf(below)
    left_out = np.array([np.mean(np.delete(values, number)) for number in range(4)])
    spread = left_out.mean() - left_out
    bend = np.sum(spread**3) / (6 * np.sum(spread**2) ** 1.5)
    ends = [bias + stats.norm.ppf(share) for share in (0.1, 0.9)]
    expected = [np.quantile(means, stats.norm.cdf(bias + end / (1 - bend * end))) for end in ends]
    assert bootstrap(values, confidence=0.8, resamples=20_000) == pytest.approx(expected, abs=0.15)
    # what the definition moves: the percentiles alone lie elsewhere
    assert abs(np.quantile(means, 0.9) - expected[1]) > 0.2


def test_bootstrap_of_a_large_sample_comes_near_the_t_interval():
    values = sample(1, 300)
    found = estimate(values, confidence=0.95)
    assert bootstrap(values, confidence=0.95, resamples=2000) == pytest.approx((found.low, found.high), abs=0.02)


def test_bootstrap_is_the_same_at_every_call():
    first, second = (bootstrap(sample(2, 12), confidence=0.95, resamples=99) for _ in range(2))
    assert first == second
    assert first[0] < np.mean(sample(2, 12)) < first[1]


@pytest.mark.parametrize(
    "values",
    [
        [1.5],
        [0.25] * 12,
        # equal up to the rounding of a difference
        [98.86 - 99.86, 1.0 - 2.0, *[97.3 - 98.3] * 8],
        # below ten seeds it would promise more than it holds
        [float(one) for one in range(9)],
    ],
)
@pytest.mark.filterwarnings("error")
def test_there_is_no_bootstrap_of_few_seeds_or_without_spread(values):
    assert np.isnan(bootstrap(values, confidence=0.95, resamples=499)).all()


@pytest.mark.parametrize("xi", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("size", [2, 3, 5, 30])
def test_non_inferiority_agrees_with_statsmodels(size, xi):
    deltas = sample(size, size)
    dense = np.linspace(90, 94, size)
    # the lower half of two one-sided tests of equivalence
    _, (_, lower, _), _ = ttost_paired(dense + deltas, dense, -xi, 100.0)
    _, larger, _ = DescrStatsW(deltas).ttest_mean(-xi, alternative="larger")
    assert p_tolerance(deltas, xi, p_above) == pytest.approx(lower, rel=1e-6) == pytest.approx(larger, rel=1e-6)
    assert p_tolerance(deltas, xi, p_below) == pytest.approx(1 - larger, rel=1e-6)


def test_non_inferiority_by_hand():
    # mean 2, sd 1, n 3: t = (2 + 1) sqrt 3; with 2 degrees of freedom P(T > t) = 1/2 - t / 2 sqrt(2 + t^2)
    t = 3 * math.sqrt(3)
    assert p_tolerance([1.0, 2.0, 3.0], 1.0, p_above) == pytest.approx(0.5 - t / (2 * math.sqrt(2 + t * t)), rel=1e-6)


@pytest.mark.parametrize("size", [2, 3, 5, 30])
def test_equivalence_agrees_with_statsmodels(size):
    deltas, dense = sample(size, size), np.linspace(90, 94, size)
    larger, *_ = ttost_paired(dense + deltas, dense, -1.0, 1.0)
    assert p_within(described(np.array([deltas])), 1.0)[0] == pytest.approx(larger, rel=1e-6)


def test_nothing_is_tested_with_one_seed_or_without_a_tolerance():
    found = [p_tolerance([1.0], 0.0, p_above), p_tolerance([1.0, 2.0], np.nan, p_below), p_zero([1.0])]
    assert np.isnan(found).all()


@pytest.mark.parametrize("size", [2, 3, 8])
def test_paired_test_agrees_with_scipy_on_the_pairs(size):
    control = np.linspace(90, 94, size)
    differences = sample(size, size)
    expected = stats.ttest_rel(control + differences, control)
    assert p_zero(differences) == pytest.approx(expected.pvalue, rel=1e-9)
    assert p_zero(differences) == pytest.approx(DescrStatsW(differences).ttest_mean(0)[1], rel=1e-9)


def test_holm_by_hand():
    # sorted .01, .03, .04: 3 * .01, 2 * .03, and 1 * .04 is raised to .06
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([0.7, 0.7]).tolist() == [1.0, 1.0]


def test_holm_counts_only_what_was_tested():
    expected = [np.nan, 0.03, np.nan, 0.06, 0.06]
    assert holm([np.nan, 0.01, np.nan, 0.04, 0.03]) == pytest.approx(expected, nan_ok=True)
    assert np.isnan(holm([np.nan])).tolist() == [True]
    assert holm([]).tolist() == []
    assert holm([0.2]).tolist() == [0.2]


def test_a_loss_of_exactly_the_tolerance_is_within_it():
    # 100 of 10,000 images: in floating point some of these differences are a hair below -1
    deltas = [100 * correct / 10_000 - 100 * (correct + 100) / 10_000 for correct in range(0, 9901)]
    found = pd.DataFrame({"mean": deltas, "se": 1e-12, "df": 2.0, "seeds": 3})
    assert (p_above(found, -1.0 - ROUNDING) < 1e-3).all()
    assert (p_within(found, 1.0) < 1e-3).all()


@pytest.mark.parametrize(
    ("difference", "p", "expected"),
    [
        (0.3, 0.05, "better"),
        (-0.3, 0.05, "worse"),
        (0.3, 0.051, "undecided"),
        (0.0, 1.0, "undecided"),
        (3.0, np.nan, "undecided"),
    ],
)
def test_outcome(difference, p, expected):
    found = pd.DataFrame({"mean": [difference, difference], "seeds": [2, 1]})
    assert outcome(found, p, 0.05).tolist() == [expected, "single seed"]


def test_outcome_of_one_sample():
    assert outcome_of([1.0, 1.1, 0.9], confidence=0.95) == "better"
    assert outcome_of([1.0, 1.0, 1.0], confidence=0.95) == "undecided"
    assert outcome_of([1.0], confidence=0.95) == "single seed"


def test_false_discovery_rate_agrees_with_statsmodels():
    p = np.array([0.001, 0.2, np.nan, 0.04, 0.012])
    expected = multipletests(p[~np.isnan(p)], method="fdr_by")[1]
    assert yekutieli(p)[~np.isnan(p)] == pytest.approx(expected)
    assert np.isnan(yekutieli(p)[2])
    assert np.isnan(yekutieli([np.nan])).all()


def kendall_by_hand(ranks):
    """W = 12 S / (m^2 (k^3 - k) - m T), S the squared deviations of the rank sums, T the sum of t^3 - t over ties."""
    ranks = np.array(ranks, dtype=float)
    count, blocks = ranks.shape
    sums = ranks.sum(axis=0)
    ties = sum(number**3 - number for row in ranks for number in np.unique(row, return_counts=True)[1])
    return 12 * np.sum((sums - sums.mean()) ** 2) / (count**2 * (blocks**3 - blocks) - count * ties)


def test_kendall_of_a_textbook_example():
    # three judges of six: rank sums 8 14 11 11 11 8, S = 25.5, W = 12 * 25.5 / (9 * 210) = 0.162
    rankings = [[1, 6, 3, 2, 5, 4], [1, 5, 6, 4, 2, 3], [6, 3, 2, 5, 4, 1]]
    found, p = kendall_w(rankings)
    assert found == pytest.approx(12 * 25.5 / (9 * 210)) == pytest.approx(kendall_by_hand(rankings))
    assert p == pytest.approx(stats.chi2.sf(3 * 5 * found, 5))


def test_kendall_of_full_agreement_and_of_none():
    scores = [0.1, 7.0, 3.0, 2.5]
    found, p = kendall_w([scores, [10 * score - 4 for score in scores], scores])
    assert found == pytest.approx(1)
    assert found <= 1
    assert p == pytest.approx(stats.chi2.sf(9, 3))
    assert kendall_w([[1, 2, 3], [2, 3, 1], [3, 1, 2]]) == pytest.approx((0, 1))


def test_kendall_of_two_rankings_is_spearman():
    scores = np.random.default_rng(4).normal(size=(2, 7))
    assert kendall_w(scores)[0] == pytest.approx((1 + stats.spearmanr(*scores).statistic) / 2)


def test_kendall_is_corrected_for_ties():
    scores = [[1.0, 1.0, 2.0, 3.0, 3.0], [2.0, 1.0, 2.0, 2.0, 5.0], [1.0, 2.0, 3.0, 4.0, 5.0]]
    assert kendall_w(scores)[0] == pytest.approx(kendall_by_hand(stats.rankdata(scores, axis=1)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("rankings", [[[1, 2, 3]], [[1, 2], [1, 2]], [[5, 5, 5], [1, 1, 1]]])
def test_kendall_needs_two_rankings_of_three_blocks(rankings):
    assert np.isnan(kendall_w(rankings)).all()


# as a benchmark has them: percentages of 10,000 images, so that many resamples have equal means; one without spread,
# one of two values whose BCa interval does not exist, and single seeds
SAMPLES = [np.round(sample(seed, (10, 3, 1, 8, 2, 17)[seed % 6]), 2).tolist() for seed in range(36)]
SAMPLES[7:7] = [[0.5] * 10, [1.0, 2.0], [0.25]]
# each lacks other seeds
MATRIX = np.full((len(SAMPLES), 20), np.nan)
for _row, _one in zip(MATRIX, SAMPLES, strict=True):
    _row[np.sort(np.random.default_rng(len(_one)).permutation(20)[: len(_one)])] = _one


def test_each_sample_keeps_its_place_whatever_its_size():
    assert by_size(MATRIX, 1, lambda values, rows: values[:, -1:])[:, 0].tolist() == [one[-1] for one in SAMPLES]
    assert by_size(MATRIX, 1, lambda values, rows: rows[:, np.newaxis])[:, 0].tolist() == list(range(len(SAMPLES)))
    assert by_size(np.empty((0, 3)), 1, lambda values, rows: values).shape == (0, 1)
    assert np.isnan(by_size(np.full((1, 3), np.nan), 2, lambda values, rows: values)).all()


def test_means_of_many_samples_round_like_those_of_one():
    assert averages(MATRIX).tolist() == [float(np.mean(one)) for one in SAMPLES]


def test_estimates_of_many_samples_are_those_of_one_by_scipy():
    found = described(MATRIX)
    ends = np.stack(interval_ends(found, 0.1), axis=1)
    p_values = {side: side(found, bound) for side, bound in ((p_above, -0.4), (p_below, 0.2))}
    assert found["seeds"].tolist() == list(map(len, SAMPLES))
    for number, one in enumerate(SAMPLES):
        assert found["mean"][number] == np.mean(one)
        if len(one) == 1 or np.ptp(one) == 0:
            assert np.isnan([*ends[number], *(p[number] for p in p_values.values())]).all()
            continue
        test = stats.ttest_1samp(one, -0.4, alternative="greater")
        assert p_values[p_above][number] == pytest.approx(test.pvalue, rel=1e-9)
        assert p_values[p_below][number] == pytest.approx(
            stats.ttest_1samp(one, 0.2, alternative="less").pvalue, rel=1e-9
        )
        interval = stats.ttest_1samp(one, 0.0).confidence_interval(0.9)
        assert ends[number].tolist() == pytest.approx([interval.low, interval.high], rel=1e-9, abs=1e-12)


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:The BCa")
def test_bootstraps_of_many_samples_are_those_of_one_by_scipy_bit_for_bit(monkeypatch):
    # several samples at a time, and not all of a size at once
    monkeypatch.setattr(statistics, "RESAMPLED", 3 * 499 * 10)
    for one, found in zip(SAMPLES, bootstraps(MATRIX, confidence=0.9, resamples=499), strict=True):
        if len(one) < 10 or np.ptp(one) == 0:
            assert np.isnan(found).all()
        else:
            rng = np.random.default_rng
            given = {"confidence_level": 0.9, "n_resamples": 499}
            ends = stats.bootstrap((one,), np.mean, method="BCa", rng=rng(0), **given).confidence_interval
            if not np.isfinite(ends).all():
                ends = stats.bootstrap((one,), np.mean, method="percentile", rng=rng(0), **given).confidence_interval
            assert found.tolist() == list(ends), one


def test_geometric_mean():
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    assert geometric_mean([1.2, 1.5, 3.1]) == pytest.approx(stats.gmean([1.2, 1.5, 3.1]))


def test_saved():
    assert saved(75, 100) == 25.0
    assert saved(100, 100) == 0.0
    assert saved(110, 100) == pytest.approx(-10.0)


def test_holm_agrees_with_statsmodels_family_by_family():
    rng = np.random.default_rng(4)
    p_values = np.round(rng.random((40, 12)) ** 3, 2)  # many small ones, and ties
    p_values[rng.random(p_values.shape) < 0.2] = np.nan
    p_values[:, 3] = np.nan
    for own in p_values.T:
        corrected, known = holm(own), ~np.isnan(own)
        assert np.array_equal(np.isnan(corrected), ~known)
        if known.any():
            assert corrected[known] == pytest.approx(multipletests(own[known], method="holm")[1], abs=1e-15)
