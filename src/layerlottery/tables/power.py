"""What a design can tell: the differences that it finds, and the seeds that would decide what it does not.

Power is that of the t test with its noncentral distribution. se² is the sum of a part by seeds, which n' in place of n
seeds make n / n' times as large, and a part by images, which only more images make smaller. Degrees of freedom grow
with n' − 1, though never beyond what images allow; docs/statistics.md.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

POWER = 0.8


def detectable(se: npt.ArrayLike, df: npt.ArrayLike, *, level: npt.ArrayLike, power: float = POWER) -> Array:
    """The least true difference that the two-sided test finds with this power, in the units of `se`; NaN without se.

    The chance that it is found with the wrong sign is left out: it is below 1e-4 at any usual level.
    """
    from scipy.special import nctdtrinc, stdtrit

    se, df, level = np.broadcast_arrays(*(np.asarray(one, dtype=np.float64) for one in (se, df, level)))
    # nctdtrinc gives the noncentrality at which the critical value is exceeded with this power
    return np.asarray(se * nctdtrinc(df, 1 - power, stdtrit(df, 1 - level / 2)))


def more_seeds(
    difference: npt.ArrayLike,
    seed_variance: npt.ArrayLike,
    image_variance: npt.ArrayLike,
    df: npt.ArrayLike,
    seeds: npt.ArrayLike,
    xi: npt.ArrayLike,
    *,
    level: npt.ArrayLike,
    most: int = 1000,
) -> Array:
    """Further seeds with which the interval would decide, if the difference stays what it is; NaN beyond `most`.

    It decides when it leaves out 0, or lies within ±ξ (NaN: there is no such verdict). That is an even chance, about,
    and no promise: the difference will not stay what it is. NaN where it is decided already, too.
    """
    from scipy.special import stdtrit

    given = (difference, seed_variance, image_variance, df, seeds, xi, level)
    difference, by_seeds, by_images, df, seeds, xi, level = (
        one[..., None] for one in np.broadcast_arrays(*(np.asarray(one, dtype=np.float64) for one in given))
    )
    further = np.arange(most + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (seeds + further) / seeds
        se = np.sqrt(by_seeds / share + by_images)
        reach = stdtrit(df * (seeds + further - 1) / (seeds - 1), 1 - level / 2) * se
        away = np.abs(difference)
        decided = (away > reach) | (away + reach <= np.nan_to_num(xi, nan=-1.0))
    found = decided.argmax(axis=-1)
    return np.where(found > 0, found, np.nan)
