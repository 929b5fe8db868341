"""The table `stability`: how far a criterion ranks the same blocks alike, whatever the seed and the draw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from layerlottery.config.criteria import DRAWN, FORMULAS
from layerlottery.tables.statistics import kendall_w

CRITERION = ["dataset", "network", "criterion", "scored_at"]
# these see weights alone and choose nothing at random: every draw of a seed repeats the first
UNDRAWN = {name for name, formula in FORMULAS.items() if formula.data_free} - set(DRAWN)


def stability(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per dataset, network, criterion and scored weights; random criteria are the null reference.

    `scores` are rows of that table for removable blocks, with the criterion's `function`.
    """
    once = scores.assign(draw=scores["draw"].mask(scores["function"].isin(UNDRAWN), 0))
    return pd.DataFrame(_agreements(once), columns=[*CRITERION, "blocks", "rankings", "kendall_w", "p_value"])


def _agreements(scores: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    for criterion, rows in scores.groupby(CRITERION, sort=False):
        rankings = rows.groupby(["seed", "draw", "block"])["score"].last().unstack("block")
        yield *criterion, rankings.shape[1], len(rankings), *kendall_w(rankings)
