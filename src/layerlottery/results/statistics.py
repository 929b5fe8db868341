"""Which tickets won: differences to the dense network, paired by seed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# percentage points: a loss of exactly ξ is within ξ, although 98.86 - 99.86 is a hair below -1 in floating point
ROUNDING = 1e-9


@dataclass(frozen=True)
class Estimate:
    """Mean, standard deviation and t interval of a sample; the last three are None for a single value."""

    mean: float
    sd: float | None
    low: float | None
    high: float | None


def estimate(values: Sequence[float], *, confidence: float) -> Estimate:
    """Student's t interval of the mean; a sample without spread has an interval of no width."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, None, None, None)
    # scipy.special holds the same quantile as scipy.stats.t and is imported in a third of the time
    from scipy.special import stdtrit

    sd = float(np.std(values, ddof=1))
    reach = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * sd / math.sqrt(len(values))
    return Estimate(mean, sd, mean - reach, mean + reach)


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
        return "single seed"
    if within(delta.low, xi):
        return "winning"
    return "undecided" if within(delta.high, xi) else "losing"


def geometric_mean(ratios: Sequence[float]) -> float:
    """The mean of ratios (speed-ups): a doubling and a halving cancel."""
    return float(np.exp(np.mean(np.log(ratios))))


def saved(value: float, dense: float) -> float:
    """Percent saved against the dense network."""
    return 100 * (1 - value / dense)
