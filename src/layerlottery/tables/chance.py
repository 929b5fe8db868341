"""Whether anything was learned: dense networks' accuracy against that of chance.

Chance is what a network reaches that always names the largest class, or guesses. What class an image is of shows where
some network got it right; docs/statistics.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from layerlottery.config.results import StatisticsSettings
from layerlottery.tables.answers import NOTHING, Answers
from layerlottery.tables.inference import NETWORK, Measured
from layerlottery.tables.measures import CLEAN
from layerlottery.tables.statistics import Array, described, p_above

# networks whose answers are held at a time
SOME = 256


def against_chance(
    networks: pd.DataFrame, accuracy: Measured, answers: Answers, settings: StatisticsSettings
) -> pd.DataFrame:
    """By dataset and network: `chance`, percent, and `learned`, whether dense networks are shown to be better.

    `networks` are all rows of the table runs, `accuracy` is that on clean test images. Both columns are null where
    neither classes nor answers are known.
    """
    found = {}
    for group, own in networks.groupby(NETWORK, sort=False):
        places = own["place"].tolist()
        # images that no network got right are of no known class
        shares = _class_shares(places, answers)
        chance = float(np.fmax(shares.max(initial=0) or np.nan, 100 / own["classes"].max()))
        dense = own.loc[own["removed"] == 0, "place"].to_numpy()
        one_image = np.nan if accuracy.floor is None else accuracy.floor[dense].max(initial=0) or np.nan
        found[group] = {"chance": chance, "learned": _learned(accuracy.values[dense], one_image, chance, settings)}
    return pd.DataFrame.from_dict(found, orient="index").rename_axis(NETWORK)


def _class_shares(places: Sequence[int], answers: Answers) -> Array:
    """Of the clean test images percent that are known to be of each class."""
    lists, widths = answers.lists(places, [CLEAN]), answers.predicts(places)
    known = (lists != NOTHING) & (widths > 0)
    # where images differ between networks, the list of the first one stands for all
    first = known.argmax()
    usable = np.array(places)[known & (lists == lists[first]) & (widths == widths[first])].tolist()
    classes = np.zeros(0, int)
    for start in range(0, len(usable), SOME):
        some = usable[start : start + SOME]
        named = np.where(answers.right(some, [CLEAN]) > 0, answers.predicted(some).astype(int), NOTHING)
        classes = np.vstack([named, *([classes] if len(classes) else [])]).max(axis=0)
    return 100 * np.bincount(classes[classes != NOTHING]) / max(1, len(classes))


def _learned(dense: Array, one_image: float, chance: float, settings: StatisticsSettings) -> bool | None:
    """Whether the mean over seeds lies above chance, one-sided; `one_image` is what an image counts, percent.

    Its variance is that over seeds, and beside it that of a network by chance over images.
    """
    if np.isnan([one_image, chance]).any():
        return None
    found = described(dense[None])
    by_seed, by_image = np.nan_to_num(found["se"].to_numpy() ** 2), chance * (100 - chance) * one_image / 100
    with np.errstate(invalid="ignore"):
        df = (by_seed + by_image) ** 2 / (by_seed**2 / max(len(dense) - 1, 1) + by_image**2 * one_image / 100)
    p = p_above(found.assign(se=np.sqrt(by_seed + by_image), df=df), chance)
    return bool(p[0] <= (1 - settings.confidence) / 2)
