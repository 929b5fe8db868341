"""Which tickets won: differences to the dense network, paired by seed, and what chance alone would give."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

# percentage points: a loss of exactly ξ is within ξ, although 98.86 - 99.86 is a hair below -1 in floating point
ROUNDING = 1e-9

SINGLE = "single seed"


@dataclass(frozen=True)
class Estimate:
    """Mean, standard deviation and t interval of a sample; the last three are None for a single value."""

    mean: float
    sd: float | None
    low: float | None
    high: float | None


def average(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return float(np.mean(values))


def geometric_mean(ratios: Sequence[float]) -> float:
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


def estimate(values: Sequence[float], *, confidence: float) -> Estimate:
    """Student's t interval of the mean; a sample without spread has an interval of no width."""
    mean = average(values)
    if len(values) < 2:
        return Estimate(mean, None, None, None)
    # scipy.special holds the same quantile as scipy.stats.t and is imported in a third of the time
    from scipy.special import stdtrit

    sd = float(np.std(values, ddof=1))
    reach = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * sd / math.sqrt(len(values))
    return Estimate(mean, sd, mean - reach, mean + reach)


def bootstrap(values: Sequence[float], *, confidence: float, resamples: int) -> tuple[float | None, float | None]:
    """Ends of the BCa bootstrap interval of the mean (Efron 1987); None for a single value.

    The resamples are the same at every call. A sample without spread has an interval of no width; where
    BCa gives no number the percentile interval takes its place.
    """
    if len(values) < 2:
        return None, None
    if _constant(values):
        return average(values), average(values)
    from scipy import stats

    for method in ("BCa", "percentile"):
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            warnings.simplefilter("ignore", stats.DegenerateDataWarning)
            found = stats.bootstrap(
                (values,),
                np.mean,
                confidence_level=confidence,
                n_resamples=resamples,
                method=method,
                rng=np.random.default_rng(0),
            ).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            break
    return float(found.low), float(found.high)


def _constant(values: Sequence[float]) -> bool:
    return max(values) - min(values) <= ROUNDING


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


def p_tolerance(deltas: Sequence[float], xi: float | None, alternative: Literal["greater", "less"]) -> float | None:
    """One-sided t test of the mean difference against −ξ: `greater` is non-inferiority, `less` its opposite.

    None for a single value or without ξ. The test has no statistic for a sample without spread: by
    definition p is 0 if the alternative holds and 1 if not, where a loss of exactly ξ is within ξ.
    """
    if xi is None or len(deltas) < 2:
        return None
    if _constant(deltas):
        return 0.0 if within(average(deltas), xi) == (alternative == "greater") else 1.0
    from scipy import stats

    # the bound of `within`, so that this test and the t interval's verdict never part
    return float(stats.ttest_1samp(deltas, -xi - ROUNDING, alternative=alternative).pvalue)


def p_zero(differences: Sequence[float]) -> float | None:
    """Two-sided t test of paired differences against 0; None for a single value.

    For a sample without spread p is by definition 1 if the difference is 0, and 0 if not.
    """
    if len(differences) < 2:
        return None
    if _constant(differences):
        return 1.0 if abs(average(differences)) <= ROUNDING else 0.0
    from scipy import stats

    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's (1979) step-down correction of one family of tests; None stays None and does not count."""
    tested = [number for number, p in enumerate(p_values) if p is not None]
    corrected: list[float | None] = [None] * len(p_values)
    if not tested:
        return corrected
    from statsmodels.stats.multitest import multipletests

    found = multipletests([p_values[number] for number in tested], method="holm")[1]
    for number, p in zip(tested, found, strict=True):
        corrected[number] = float(p)
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
