"""Estimates, intervals and tests over seeds: differences paired by seed, and what chance alone would give.

`infer` and `t_test` are the one place where an interval or a p value comes from. Samples are the rows of a matrix
(samples, seeds), NaN where a sample lacks a seed; a benchmark has hundreds of thousands, so that those of one size
are computed together. What is summed along a row rounds as in a sample alone.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Sample = Sequence[float]
Array = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

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


def by_size(samples: Array, width: int, statistic: Callable[[Array, Places], Array]) -> Array:
    """The statistic of every sample, (samples, width); NaN for one without values.

    It is called once for each size, with the values (some samples, size) and their rows in `samples`.
    """
    found = np.full((len(samples), width), np.nan)
    known = ~np.isnan(samples)
    sizes = known.sum(axis=1)
    for size in np.unique(sizes[sizes > 0]).tolist():
        rows = np.flatnonzero(sizes == size)
        found[rows] = statistic(samples[rows][known[rows]].reshape(-1, size), rows)
    return found


def averages(samples: Array) -> Array:
    """The mean of every sample."""
    return by_size(samples, 1, lambda values, _: np.mean(values, axis=1, keepdims=True))[:, 0]


def infer(samples: Array, *, confidence: float) -> pd.DataFrame:
    """From paired differences to what they say: mean, sd, low and high of the t interval, p_value, seeds.

    p is that of the two-sided test against 0. With a single seed there is a mean only.
    """
    found = pd.DataFrame(intervals(samples, confidence=confidence), columns=["mean", "sd", "low", "high"])
    return found.assign(p_value=t_test(samples), seeds=(~np.isnan(samples)).sum(axis=1))


def intervals(samples: Array, *, confidence: float) -> Array:
    """Mean, standard deviation and ends of Student's t interval of every sample: (samples, 4).

    With a single value all but the mean are NaN. A sample without spread has an interval of no width.
    """
    # scipy.special holds the same quantile as scipy.stats.t and is imported in a third of the time
    from scipy.special import stdtrit

    def described(values: Array, rows: Places) -> Array:
        size, means = values.shape[1], np.mean(values, axis=1)
        sd = np.std(values, axis=1, ddof=1) if size > 1 else np.full(len(values), np.nan)
        reach = float(stdtrit(size - 1, (1 + confidence) / 2)) * sd / math.sqrt(size)
        return np.column_stack([means, sd, means - reach, means + reach])

    return by_size(samples, 4, described)


def t_test(
    samples: Array,
    bounds: Array | float = 0.0,
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
) -> Array:
    """The p value of a t test of every sample's mean against its bound; NaN for a single seed or bound NaN.

    The test has no statistic for a sample without spread: by definition p is 0 if the alternative holds and 1 if
    not. A mean that equals the bound is not `less`.
    """
    every = np.broadcast_to(np.asarray(bounds, dtype=np.float64), len(samples))

    def tested(values: Array, rows: Places) -> Array:
        if values.shape[1] < 2:
            return np.full((len(rows), 1), np.nan)
        distances = np.mean(values, axis=1) - every[rows]
        holds = {"two-sided": np.abs(distances) > ROUNDING, "greater": distances >= 0, "less": distances < 0}
        p, varied = np.where(holds[alternative], 0.0, 1.0), _varied(values)
        if varied.any():
            from scipy import stats

            bound = every[rows][varied, np.newaxis]
            p[varied] = stats.ttest_1samp(values[varied], bound, axis=1, alternative=alternative).pvalue
        return np.where(np.isnan(distances), np.nan, p)[:, np.newaxis]

    return by_size(samples, 1, tested)[:, 0]


def bootstraps(samples: Array, *, confidence: float, resamples: int) -> Array:
    """Ends (samples, 2) of the BCa bootstrap interval of every sample's mean (Efron 1987); NaN for a single seed.

    The resamples are the same at every call. A sample without spread has an interval of no width; where
    BCa gives no number the percentile interval takes its place.
    """

    def resampled(values: Array, rows: Places) -> Array:
        if values.shape[1] < 2:
            return np.full((len(rows), 2), np.nan)
        ends = np.repeat(np.mean(values, axis=1, keepdims=True), 2, axis=1)
        varied = np.flatnonzero(_varied(values))
        step = max(1, RESAMPLED // (resamples * values.shape[1]))
        for start in range(0, len(varied), step):
            some = varied[start : start + step]
            ends[some] = _resampled(values[some], "BCa", confidence, resamples)
            some = some[~np.isfinite(ends[some]).all(axis=1)]
            ends[some] = _resampled(values[some], "percentile", confidence, resamples)
        return ends

    return by_size(samples, 2, resampled)


def _varied(values: Array) -> npt.NDArray[np.bool_]:
    return np.asarray(np.ptp(values, axis=1) > ROUNDING)


def _resampled(values: Array, method: Literal["BCa", "percentile"], confidence: float, resamples: int) -> Array:
    """Ends (samples, 2) for samples (samples, values) with spread."""
    from scipy import stats

    if not len(values):
        return np.empty((0, 2))

    # scipy draws places in a sample: it would gather the values of all samples in an order in which their
    # sums round otherwise, and a mean that equals the sample's own would come to lie above or below it
    def means(places: Places, axis: int = -1) -> Array:
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


def holm(p_values: npt.ArrayLike) -> Array:
    """Holm's (1979) step-down correction of one family of tests; NaN stays NaN and does not count."""
    given = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(given, kind="stable")  # NaN last
    factors = (~np.isnan(given)).sum() - np.arange(len(given))
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1.0)
    return corrected


def tolerance(xi: float | str, dense_accuracies: Sample) -> float:
    """ξ in percentage points; `sd` is the dense networks' standard deviation, NaN when there is only one."""
    if xi != "sd":
        return float(xi)
    return float(np.std(dense_accuracies, ddof=1)) if len(dense_accuracies) > 1 else math.nan


def within(delta: npt.ArrayLike, xi: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether a difference to the dense network, in percentage points, is no greater a loss than ξ."""
    return np.asarray(np.asarray(delta) >= -np.asarray(xi) - ROUNDING)


def verdict(low: npt.ArrayLike, high: npt.ArrayLike, xi: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """Winning if the whole interval of the mean difference lies at or above −ξ, losing if it lies below."""
    unknown = np.isnan(low) | np.isnan(xi)
    return np.select([unknown, within(low, xi), within(high, xi)], [SINGLE, "winning", "undecided"], "losing")


def verdict_of_tests(p_winning: npt.ArrayLike, p_losing: npt.ArrayLike, *, confidence: float) -> npt.NDArray[np.str_]:
    """`verdict` from the p values of the two one-sided tests; without a correction both agree."""
    # each end of a two-sided interval leaves out half of what the level allows
    level = (1 - confidence) / 2
    winning, losing = np.asarray(p_winning), np.asarray(p_losing)
    known = [np.isnan(winning), winning <= level, losing <= level]
    return np.select(known, [SINGLE, "winning", "losing"], "undecided")


def outcome(difference: npt.ArrayLike, p: npt.ArrayLike, *, confidence: float) -> npt.NDArray[np.str_]:
    """Better or worse if the two-sided p value allows to tell."""
    tested = np.asarray(p, dtype=np.float64)
    known = [np.isnan(tested), tested > 1 - confidence, np.asarray(difference) > 0]
    return np.select(known, [SINGLE, "can't tell", "better"], "worse")


def kendall_w(rankings: npt.ArrayLike) -> tuple[float, float]:
    """Kendall's coefficient of concordance, corrected for ties, and the p value of Friedman's test.

    `rankings` holds scores (rankings, blocks); only their order counts. W = χ² / (m (k - 1)) for m rankings of
    k blocks, with Friedman's χ² (Kendall & Babington Smith 1939). NaN for both with one ranking, with
    fewer than three blocks, or if no ranking prefers any block.
    """
    table = np.asarray(rankings, dtype=np.float64)
    if len(table) < 2 or table.shape[1] < 3 or not np.ptp(table, axis=1).any():
        return math.nan, math.nan
    from scipy import stats

    count, blocks = table.shape
    found = stats.friedmanchisquare(*table.T)
    # a perfect agreement may come out a hair above 1
    return min(max(float(found.statistic) / (count * (blocks - 1)), 0.0), 1.0), float(found.pvalue)


def saved(value: Any, dense: Any) -> Any:
    """Percent saved against the dense network."""
    return 100 * (1 - value / dense)


def average(values: Sample) -> float:
    """The arithmetic mean."""
    return float(np.mean(values))


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
    """Mean and t interval of one sample."""
    mean, *spread = intervals(np.array([values], dtype=np.float64), confidence=confidence)[0].tolist()
    return Estimate(mean, *(None if math.isnan(one) else one for one in spread))


def p_zero(differences: Sample) -> float:
    """The two-sided `t_test` of one sample against 0; NaN for a single value."""
    return float(t_test(np.array([differences], dtype=np.float64))[0])
