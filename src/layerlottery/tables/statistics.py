"""Estimates over seeds, their tests and verdicts, and the corrections for how many were made.

An inference is an estimate with its standard error and degrees of freedom: from seeds alone (`described`), or from
seeds and images (tables/inference.py). Interval, p values and verdicts follow from these three, here and nowhere else.
Samples are the rows of a matrix (samples, seeds), NaN where a sample lacks a seed; a benchmark has hundreds of
thousands, so that those of one size are computed together.
"""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

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

# a tolerance says which differences do not matter: a ticket within it is equivalent, even where it is proven better
Verdict = Literal["better", "equivalent", "worse", "undecided"]
VERDICTS = get_args(Verdict)
SINGLE, NULL = "single seed", "null by construction"
UNDECIDED: Verdict = "undecided"
# below so many seeds the bootstrap covers 78 to 83 % where it says 95
BOOTSTRAPPED = 10


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


def described(samples: Array, floor: npt.ArrayLike = np.nan) -> pd.DataFrame:
    """Mean, sd, se, df and number of seeds of every sample, from its spread over seeds.

    `floor` is the least standard error: one image in percent, of images as many as it says. With a single seed, or
    without spread and floor, there is no standard error: values that agree by chance say nothing of others.
    """

    def spread(values: Array, _: Places) -> Array:
        size, means = values.shape[1], np.mean(values, axis=1)
        sd = np.std(values, axis=1, ddof=1) if size > 1 else np.full(len(values), np.nan)
        return np.column_stack([means, sd, np.full(len(values), size)])

    mean, sd, seeds = by_size(samples, 3, spread).T
    seeds = np.nan_to_num(seeds)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = np.where(sd > ROUNDING, sd / np.sqrt(seeds), np.nan)
        se, df = np.fmax(own, floor), np.where(own >= floor, seeds - 1, 100 / np.asarray(floor) - 1)
    df = np.where(np.isnan(floor), seeds - 1, df)
    known = ~np.isnan(se) & (seeds > 1)
    columns = {"mean": mean, "sd": sd, "se": np.where(known, se, np.nan), "df": np.where(known, df, np.nan)}
    return pd.DataFrame(columns | {"seeds": seeds.astype(int)})


def interval_ends(found: pd.DataFrame, level: npt.ArrayLike) -> tuple[Array, Array]:
    """Both ends of the interval that leaves out `level`, half on each side; NaN without a standard error."""
    # scipy.special holds the same quantile as scipy.stats.t and is imported in a third of the time
    from scipy.special import stdtrit

    mean, se, df = (found[name].to_numpy(float) for name in ("mean", "se", "df"))
    reach = stdtrit(df, 1 - np.asarray(level) / 2) * se
    return mean - reach, mean + reach


def p_above(found: pd.DataFrame, bound: npt.ArrayLike = 0.0) -> Array:
    """One-sided p values that the estimated differences lie above a bound; NaN without a standard error."""
    from scipy.special import stdtr

    mean, se, df = (found[name].to_numpy(float) for name in ("mean", "se", "df"))
    return np.asarray(stdtr(df, (np.asarray(bound) - mean) / se))


def p_below(found: pd.DataFrame, bound: npt.ArrayLike = 0.0) -> Array:
    """The same for below."""
    return p_above(found.assign(mean=-found["mean"]), -np.asarray(bound))


def p_differs(found: pd.DataFrame) -> Array:
    """Two-sided p values of no difference."""
    return 2 * np.minimum(p_above(found), p_below(found))


def p_within(found: pd.DataFrame, xi: npt.ArrayLike) -> Array:
    """p values of two one-sided tests (Schuirmann 1987) that the differences lie between −ξ and ξ: the larger one."""
    reach = np.asarray(xi) + ROUNDING
    return np.maximum(p_above(found, -reach), p_below(found, reach))


def bootstraps(samples: Array, *, confidence: float, resamples: int) -> Array:
    """Ends (samples, 2) of the BCa bootstrap interval of every sample's mean over seeds (Efron 1987).

    NaN below ten seeds and without spread. The resamples are the same at every call; where BCa gives no number the
    percentile interval takes its place.
    """

    def resampled(values: Array, rows: Places) -> Array:
        ends = np.full((len(rows), 2), np.nan)
        if values.shape[1] < BOOTSTRAPPED:
            return ends
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


def yekutieli(p_values: npt.ArrayLike) -> Array:
    """Benjamini & Yekutieli's (2001) false discovery rate, valid however tests depend; NaN stays NaN, uncounted."""
    from scipy import stats

    given = np.asarray(p_values, dtype=np.float64)
    found, known = np.full_like(given, np.nan), ~np.isnan(given)
    if known.any():
        found[known] = stats.false_discovery_control(given[known], method="by")
    return found


def tolerance(xi: float | str, dense_accuracies: Sample) -> float:
    """ξ in percentage points; `sd` is the dense networks' standard deviation, NaN when there is only one."""
    if xi != "sd":
        return float(xi)
    return float(np.std(dense_accuracies, ddof=1)) if len(dense_accuracies) > 1 else math.nan


def within(delta: npt.ArrayLike, xi: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether a difference to the dense network, in percentage points, is no greater a loss than ξ."""
    return np.asarray(np.asarray(delta) >= -np.asarray(xi) - ROUNDING)


def verdicts(
    found: pd.DataFrame, differs: npt.ArrayLike, equivalent: npt.ArrayLike, level: npt.ArrayLike
) -> npt.NDArray[np.str_]:
    """The verdict on every ticket, from its p values of a difference and of equivalence; docs/statistics.md.

    Each of the two one-sided tests has half the level, so that the whole interval then lies within the tolerance.
    """
    level = np.asarray(level)
    with np.errstate(invalid="ignore"):
        told = [np.asarray(equivalent) <= level / 2, ~(np.asarray(differs) <= level), found["mean"] > 0]
    return np.select([found["seeds"] < 2, *told], [SINGLE, "equivalent", UNDECIDED, "better"], "worse")


def outcome(found: pd.DataFrame, differs: npt.ArrayLike, level: npt.ArrayLike) -> npt.NDArray[np.str_]:
    """The verdict where there is no tolerance: better or worse if the two-sided p value allows to tell."""
    return verdicts(found, differs, np.nan, level)


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
    """Mean and t interval of one sample; no interval without spread."""
    found = described(np.array([values], dtype=np.float64))
    ends = np.ravel(interval_ends(found, 1 - confidence)).tolist()
    sd, low, high = (None if math.isnan(one) else one for one in (float(found.loc[0, "sd"]), *ends))
    return Estimate(float(found.loc[0, "mean"]), sd, low, high)


def outcome_of(differences: Sample, *, confidence: float) -> str:
    """The outcome of a t test of one sample against 0."""
    found = described(np.array([differences], dtype=np.float64))
    return str(outcome(found, p_differs(found), 1 - confidence)[0])
