"""Power against statsmodels and simulation; levels of looks against the definition of the spending function."""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from layerlottery.config.results import StatisticsSettings
from layerlottery.tables.looks import level, spent
from layerlottery.tables.power import detectable, more_seeds


@pytest.mark.parametrize("seeds", [3, 5, 9, 30])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_detectable_difference_agrees_with_statsmodels(seeds, power):
    found = detectable(2 / np.sqrt(seeds), seeds - 1, level=0.05, power=power)
    expected = TTestPower().solve_power(nobs=seeds, alpha=0.05, power=power, alternative="two-sided")
    # statsmodels counts rejections on the wrong side, too
    assert found == pytest.approx(2 * expected, rel=1e-3)


def test_detectable_difference_is_found_as_often_as_it_says():
    shift = float(detectable(1 / np.sqrt(4), 3, level=0.05))
    samples = np.random.default_rng(0).normal(shift, 1, (20_000, 4))
    assert np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue <= 0.05) == pytest.approx(0.8, abs=0.01)


def test_nothing_is_detectable_without_a_standard_error():
    assert np.isnan(detectable([np.nan], [np.nan], level=0.05)).all()


def decided(difference, by_seeds, by_images, df, seeds, xi, further):
    """Whether the interval decides with so many seeds more, by scipy's t."""
    se = np.sqrt(by_seeds * seeds / (seeds + further) + by_images)
    reach = stats.t.ppf(0.975, df * (seeds + further - 1) / (seeds - 1)) * se
    return abs(difference) > reach or abs(difference) + reach <= xi


@pytest.mark.parametrize(
    "given",
    [
        (0.5, 0.04, 0.01, 8, 5, 0.0),
        (0.5, 0.04, 0.01, 8, 5, 1.0),
        (-0.3, 0.2, 0.0, 4, 3, 0.0),
        (0.1, 0.09, 0.0, 4, 3, 0.5),
    ],
)
def test_seeds_that_would_decide_are_the_fewest(given):
    found = int(more_seeds(*given, level=0.05))
    assert found > 0
    assert [decided(*given, further) for further in range(found + 1)] == [False] * found + [True]


def test_seeds_can_not_make_up_for_images():
    # the part by images alone is wider than the difference; what is decided needs none, nor does one seed tell
    given = [(0.5, 0.04, 0.2, 8, 5, np.nan), (9.0, 0.04, 0.01, 8, 5, 1.0), (0.5, np.nan, 0.0, np.nan, 1, 1.0)]
    assert np.isnan(more_seeds(*np.array(given).T, level=0.05)).all()


def test_spending_ends_at_the_level_and_begins_with_next_to_nothing():
    shares = np.arange(1, 6) / 5
    # tabulated by Lan & DeMets (1983) for five equally spaced looks
    assert [spent(share, 0.05) for share in shares] == pytest.approx([0.00001, 0.0019, 0.0114, 0.0284, 0.05], abs=5e-5)


def test_the_levels_of_all_looks_add_up():
    settings = StatisticsSettings(looks=[3, 6, 9, 12], most=12)
    levels = [level(settings, seeds) for seeds in (3, 6, 9, 12)]
    assert sum(levels) == pytest.approx(0.05)
    assert levels == sorted(levels)
    # between looks the last one counts, and before all of them the first
    assert (level(settings, 7), level(settings, 2)) == (levels[1], levels[0])
    assert level(StatisticsSettings(), 3) == pytest.approx(0.05)


def test_repeated_looks_at_noise_err_no_more_often_than_once():
    looks = [3, 6, 9, 12, 15]
    settings = StatisticsSettings(looks=looks, most=15)
    samples = np.random.default_rng(1).normal(0, 1, (20_000, 15))
    planned, naive = (
        np.any([stats.ttest_1samp(samples[:, :n], 0, axis=1).pvalue <= at(n) for n in looks], axis=0).mean()
        for at in (lambda n: level(settings, n), lambda n: 0.05)
    )
    assert planned <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(samples))
    assert naive > 0.1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"looks": [6, 3], "most": 9}, "ascending"),
        ({"looks": [3, 12], "most": 9}, "at most 9"),
        ({"looks": [3]}, "both or none"),
        ({"most": 3}, "both or none"),
    ],
)
def test_looks_must_end(given, said):
    with pytest.raises(ValueError, match=said):
        StatisticsSettings(**given)


def test_an_early_look_spends_little_and_not_nothing():
    # far in the tail, where 1 minus it rounds to 0
    assert spent(0.03, 0.05) == pytest.approx(2 * stats.norm.sf(stats.norm.isf(0.025) / 0.03**0.5), rel=1e-9)
    assert spent(0.003, 0.05) > 0
