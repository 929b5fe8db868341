"""The numbers behind the figures and tables; nothing here draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from layerlottery.report.tables import TICKET, dense, tickets
from layerlottery.report.texts import TEXTS
from layerlottery.tables.statistics import geometric_mean


def confidence_of(summary: pd.DataFrame) -> float:
    """The level of the summary's intervals."""
    # a table of dense networks alone has no intervals whose level could be asked for
    return math.nan if summary.empty else float(summary["confidence"].iloc[0])


def by_seed(frame: pd.DataFrame, keys: Sequence[str], value: str) -> pd.DataFrame:
    """One value per seed and keys, in `mean`: the seed is the unit, so several draws are averaged first."""
    # dense networks have no criterion
    return frame.groupby([*keys, "seed"], sort=False, dropna=False)[value].mean().rename("mean").reset_index()


def over_seeds(frame: pd.DataFrame, keys: Sequence[str], value: str) -> pd.DataFrame:
    """Mean, least and greatest value over seeds, and their number; rows in order of appearance."""
    grouped = by_seed(frame, keys, value).groupby(list(keys), sort=False, dropna=False)["mean"]
    return grouped.agg(mean="mean", low="min", high="max", seeds="count").reset_index()


def difference_by_condition(robustness: pd.DataFrame) -> pd.DataFrame:
    """Mean paired difference to dense over seeds and levels; rows: family and blocks removed; columns: conditions."""
    means = over_seeds(tickets(robustness), [*TICKET, "name"], "delta_accuracy")
    return means.pivot_table(index=TICKET, columns="name", values="mean", sort=False)


def accuracy_by_condition(robustness: pd.DataFrame) -> pd.Series:
    """Mean accuracy of the dense networks under every condition, over seeds and levels."""
    return dense(robustness).groupby("name")["accuracy"].mean()


def cost_by_removed(summary: pd.DataFrame) -> pd.DataFrame:
    """Savings by structure, protocol and size, averaged over criteria: rows of quantity, mean, low and high.

    `summary` holds the rows of one tolerance, with what tells their trainings apart in `protocol`. Speed-ups are
    averaged geometrically; the predicted one is 1 / (1 - MACs saved), that of a machine whose time is proportional to
    MACs.
    """
    left = 1 - summary["macs_reduction"] / 100
    rows = summary.assign(predicted=1 / left.where(left > 0))
    keys = ["structure", "protocol", "removed"]
    found = []
    for names, mean in ((TEXTS["savings"], "mean"), (TEXTS["speedups"], _geometric)):
        long = rows.rename(columns=names).melt(keys, list(names.values()), "quantity")
        grouped = long.groupby([*keys, "quantity"], sort=False)["value"]
        found.append(grouped.agg(mean=mean, low="min", high="max"))
    return pd.concat(found).reset_index()


def _geometric(values: pd.Series) -> float:
    known = values.dropna()
    return math.nan if known.empty else geometric_mean(known.tolist())


def removal_shares(runs: pd.DataFrame) -> pd.DataFrame:
    """The share of choices (seeds times draws) that removed each block.

    One row per criterion, scored_at, removed and block: where the training starts changes no choice.
    """
    keys = ["criterion", "scored_at", "removed"]
    rows = tickets(runs)
    rows = rows[rows["structure"] == "layers"].drop_duplicates([*keys, "seed", "draw"])
    rows = rows.assign(choices=rows.groupby(keys)["seed"].transform("size"))
    gone = rows.explode("removed_blocks").dropna(subset=["removed_blocks"])
    counts = gone.groupby([*keys, "removed_blocks", "choices"]).size().rename("count").reset_index()
    return counts.assign(share=counts["count"] / counts["choices"])
