"""Which tickets won: differences to the dense network, paired by seed, and what chance alone would give.

A benchmark has thousands of samples of a few seeds: functions in the plural take them all, and work on those of
one size together.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

Sample = Sequence[float]
Array = npt.NDArray[np.float64]
Result = TypeVar("Result")

# percentage points: a loss of exactly ξ is within ξ, although 98.86 - 99.86 is a hair below -1 in floating point
ROUNDING = 1e-9

# values held at a time while bootstrapping: 16 MiB, and as much again for their copies
RESAMPLED = 2**21

SINGLE = "single seed"


@dataclass(frozen=True)
class Estimate:
    """Mean, standard deviation and t interval of a sample; the last three are None for a single value."""

    mean: float
    sd: float | None
    low: float | None
    high: float | None


def of_each(samples: Sequence[Sample], statistic: Callable[[Array, list[int]], Iterable[Result]]) -> list[Result]:
    """The statistic of every sample, in their order.

    It is called once for each size, with a matrix (samples, values) and their places in `samples`. What it sums
    along a row rounds as in a sample alone.
    """
    sizes = defaultdict(list)
    for place, sample in enumerate(samples):
        sizes[len(sample)].append(place)
    found: dict[int, Result] = {}
    for places in sizes.values():
        matrix = np.array([samples[place] for place in places], dtype=np.float64)
        found |= zip(places, statistic(matrix, places), strict=True)
    return [found[place] for place in range(len(samples))]


def averages(samples: Sequence[Sample]) -> list[float]:
    """The arithmetic mean of every sample."""
    return of_each(samples, lambda values, _: np.mean(values, axis=1).tolist())


def average(values: Sample) -> float:
    """The arithmetic mean."""
    return float(np.mean(values))


def geometric_means(samples: Sequence[Sample]) -> list[float]:
    """The mean of ratios (speed-ups) of every sample: a doubling and a halving cancel."""
    return of_each(samples, lambda values, _: np.exp(np.mean(np.log(values), axis=1)).tolist())


def geometric_mean(ratios: Sample) -> float:
    """The mean of ratios (speed-ups): a doubling and a halving cancel."""
    return float(np.exp(np.mean(np.log(ratios))))


def seed_means(
    values: Iterable[tuple[int, float]], mean: Callable[[Sequence[float]], float] = average
) -> dict[int, float]:
    """One value a seed, in the order of the seeds: draws share a dense network and are no replications."""
    seeds = defaultdict(list)
    for seed, value in values:
        seeds[seed].append(value)
    return {seed: mean(seeds[seed]) for seed in sorted(seeds)}


def estimate(values: Sample, *, confidence: float) -> Estimate:
    """Student's t interval of the mean; a sample without spread has an interval of no width."""
    return estimates([values], confidence=confidence)[0]


def estimates(samples: Sequence[Sample], *, confidence: float) -> list[Estimate]:
    """`estimate` of every sample."""
    # scipy.special holds the same quantile as scipy.stats.t and is imported in a third of the time
    from scipy.special import stdtrit

    def interval(values: Array, places: list[int]) -> Iterable[Estimate]:
        size, means = values.shape[1], np.mean(values, axis=1)
        if size < 2:
            return [Estimate(mean, None, None, None) for mean in means.tolist()]
        sd = np.std(values, axis=1, ddof=1)
        reach = float(stdtrit(size - 1, (1 + confidence) / 2)) * sd / math.sqrt(size)
        return map(Estimate, means.tolist(), sd.tolist(), (means - reach).tolist(), (means + reach).tolist())

    return of_each(samples, interval)


def bootstraps(
    samples: Sequence[Sample], *, confidence: float, resamples: int
) -> list[tuple[float, float] | tuple[None, None]]:
    """Ends of the BCa bootstrap interval of every sample's mean (Efron 1987); None for a single value.

    The resamples are the same at every call. A sample without spread has an interval of no width; where
    BCa gives no number the percentile interval takes its place.
    """

    def intervals(values: Array, places: list[int]) -> Iterable[tuple[float, float] | tuple[None, None]]:
        if values.shape[1] < 2:
            return [(None, None)] * len(values)
        ends = np.repeat(np.mean(values, axis=1, keepdims=True), 2, axis=1)
        varied = np.flatnonzero(~_constant(values))
        step = max(1, RESAMPLED // (resamples * values.shape[1]))
        for start in range(0, len(varied), step):
            rows = varied[start : start + step]
            ends[rows] = _bootstrapped(values[rows], confidence, resamples)
        return map(tuple, ends.tolist())

    return of_each(samples, intervals)


def _bootstrapped(values: Array, confidence: float, resamples: int) -> Array:
    """Ends (samples, 2) for samples (samples, values) with spread."""
    ends = _resampled(values, "BCa", confidence, resamples)
    unknown = ~np.isfinite(ends).all(axis=1)
    if unknown.any():
        ends[unknown] = _resampled(values[unknown], "percentile", confidence, resamples)
    return ends


def _resampled(values: Array, method: Literal["BCa", "percentile"], confidence: float, resamples: int) -> Array:
    from scipy import stats

    # what scipy draws are places in a sample: it would gather the values of all samples in an order in which their
    # sums round otherwise, and a mean that equals the sample's own would come to lie above or below it
    def means(places: npt.NDArray[np.intp], axis: int = -1) -> Array:
        return np.asarray(np.mean(np.take(values, places, axis=1), axis=axis))

    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (np.arange(values.shape[1]),),
            means,
            vectorized=True,
            confidence_level=confidence,
            n_resamples=resamples,
            method=method,
            rng=np.random.default_rng(0),
        ).confidence_interval
    return np.stack([found.low, found.high], axis=-1)


def _constant(values: Array) -> npt.NDArray[np.bool_]:
    return np.asarray(np.ptp(values, axis=1) <= ROUNDING)


def tolerance(xi: float | str, dense_accuracies: Sequence[float]) -> float | None:
    """ξ in percentage points; `sd` is the dense networks' standard deviation, None when there is only one."""
    if xi != "sd":
        return float(xi)
    return float(np.std(dense_accuracies, ddof=1)) if len(dense_accuracies) > 1 else None


def within(delta: float, xi: float) -> bool:
    """Whether a difference to the dense network, in percentage points, is no greater a loss than ξ."""
    return delta >= -xi - ROUNDING


def verdict(delta: Estimate, xi: float | None) -> str:
    """Winning if the whole interval of the mean difference lies at or above −ξ, losing if it lies below."""
    if delta.low is None or delta.high is None or xi is None:
        return SINGLE
    if within(delta.low, xi):
        return "winning"
    return "undecided" if within(delta.high, xi) else "losing"


def p_tolerances(
    samples: Sequence[Sample], xi: Sequence[float | None], alternative: Literal["greater", "less"]
) -> list[float | None]:
    """One-sided t test of every sample's mean against its −ξ: `greater` is non-inferiority, `less` its opposite.

    None for a single value or without ξ. The test has no statistic for a sample without spread: by
    definition p is 0 if the alternative holds and 1 if not, where a loss of exactly ξ is within ξ.
    """

    def tests(values: Array, places: list[int]) -> Iterable[float | None]:
        allowed = [xi[place] for place in places]
        # the bound of `within`, so that this test and the t interval's verdict never part
        bounds = -np.array([points or 0.0 for points in allowed]) - ROUNDING
        holds = (np.mean(values, axis=1) >= bounds) == (alternative == "greater")
        found = _t_tests(values, bounds, alternative, without_spread=np.where(holds, 0.0, 1.0))
        return [None if points is None else p for p, points in zip(found, allowed, strict=True)]

    return of_each(samples, tests)


def p_zeros(samples: Sequence[Sample]) -> list[float | None]:
    """Two-sided t test of every sample of paired differences against 0; None for a single value.

    For a sample without spread p is by definition 1 if the difference is 0, and 0 if not.
    """

    def tests(values: Array, places: list[int]) -> list[float | None]:
        none = np.abs(np.mean(values, axis=1)) <= ROUNDING
        return _t_tests(values, np.zeros(len(values)), "two-sided", without_spread=np.where(none, 1.0, 0.0))

    return of_each(samples, tests)


def p_zero(differences: Sample) -> float | None:
    """`p_zeros` of one sample."""
    return p_zeros([differences])[0]


def _t_tests(values: Array, expected: Array, alternative: str, *, without_spread: Array) -> list[float | None]:
    if values.shape[1] < 2:
        return [None] * len(values)
    found, varied = without_spread, ~_constant(values)
    if varied.any():
        from scipy import stats

        tests = stats.ttest_1samp(values[varied], expected[varied, np.newaxis], axis=1, alternative=alternative)
        found[varied] = tests.pvalue
    return list(found.tolist())


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) step-down correction of one family of tests; None stays None and does not count."""
    column = np.array([math.nan if p is None else p for p in p_values], dtype=np.float64)
    return [None if math.isnan(p) else p for p in holm_columns(column[:, np.newaxis])[:, 0].tolist()]


def holm_columns(p_values: Array) -> Array:
    """`holm` of every column of a matrix (tests, families); NaN stays NaN and does not count.

    Not statsmodels' multipletests, which takes one family and collects garbage at every call: most of the time of
    a benchmark with hundreds of families.
    """
    order = np.argsort(p_values, axis=0, kind="stable")  # NaN last
    ordered = np.take_along_axis(p_values, order, axis=0)
    tested = (~np.isnan(p_values)).sum(axis=0)
    factors = tested - np.arange(len(p_values))[:, np.newaxis]
    stepped = np.minimum(np.maximum.accumulate(ordered * factors, axis=0), 1.0)
    corrected = np.empty_like(p_values)
    np.put_along_axis(corrected, order, stepped, axis=0)
    return corrected


def verdict_of_tests(p_winning: float | None, p_losing: float | None, *, confidence: float) -> str:
    """`verdict` from the p values of the two tests of `p_tolerance`; without a correction both agree."""
    if p_winning is None or p_losing is None:
        return SINGLE
    # each end of a two-sided interval leaves out half of what the level allows
    level = (1 - confidence) / 2
    if p_winning <= level:
        return "winning"
    return "losing" if p_losing <= level else "undecided"


def outcome(difference: float, p: float | None, *, confidence: float) -> str:
    """Better or worse if the two-sided p value allows to tell."""
    if p is None:
        return SINGLE
    if p > 1 - confidence:
        return "can't tell"
    return "better" if difference > 0 else "worse"


def kendall_w(rankings: Sequence[Sequence[float]]) -> tuple[float | None, float | None]:
    """Kendall's coefficient of concordance, corrected for ties, and the p value of Friedman's test.

    `rankings` holds scores (rankings, blocks); only their order counts. W = χ² / (m (k - 1)) for m rankings of
    k blocks, with Friedman's χ² (Kendall & Babington Smith 1939). None for both with one ranking, with
    fewer than three blocks, or if no ranking prefers any block.
    """
    table = np.asarray(rankings, dtype=np.float64)
    if len(table) < 2 or table.shape[1] < 3 or not np.ptp(table, axis=1).any():
        return None, None
    from scipy import stats

    count, blocks = table.shape
    found = stats.friedmanchisquare(*table.T)
    agreement = float(found.statistic) / (count * (blocks - 1))
    # a perfect agreement may come out a hair above 1
    return min(max(agreement, 0.0), 1.0), float(found.pvalue)


def saved(value: float, dense: float) -> float:
    """Percent saved against the dense network."""
    return 100 * (1 - value / dense)
