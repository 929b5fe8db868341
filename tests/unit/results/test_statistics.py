"""Statistics against scipy and by hand."""

import math

import numpy as np
import pytest
from scipy import stats

from layerlottery.results.statistics import Estimate, estimate, geometric_mean, saved, tolerance, verdict


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


def test_no_spread_gives_an_interval_without_width():
    assert estimate([0.25, 0.25, 0.25], confidence=0.95) == Estimate(0.25, 0.0, 0.25, 0.25)


@pytest.mark.parametrize(
    ("low", "high", "xi", "expected"),
    [
        (0.0, 0.5, 0.0, "winning"),
        (-1.0, 0.5, 1.0, "winning"),
        (-1.1, 0.5, 1.0, "undecided"),
        (-2.0, -1.0, 1.0, "undecided"),
        (-2.0, -1.1, 1.0, "losing"),
        (-0.1, 0.1, 0.0, "undecided"),
        (-0.2, -0.1, 0.0, "losing"),
        (-0.2, -0.1, 0.2, "winning"),
        (0.1, 0.2, None, "single seed"),
        (None, None, 1.0, "single seed"),
    ],
)
def test_verdict(low, high, xi, expected):
    middle = 0.0 if low is None else (low + high) / 2
    assert verdict(Estimate(middle, None if low is None else 0.1, low, high), xi) == expected


def test_tolerance():
    assert tolerance(1.5, [90.0]) == 1.5
    assert tolerance("sd", [90.0, 92.0, 94.0]) == 2.0
    assert tolerance("sd", [90.0]) is None


def test_geometric_mean():
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    assert geometric_mean([1.2, 1.5, 3.1]) == pytest.approx(stats.gmean([1.2, 1.5, 3.1]))


def test_saved():
    assert saved(75, 100) == 25.0
    assert saved(100, 100) == 0.0
    assert saved(110, 100) == pytest.approx(-10.0)
