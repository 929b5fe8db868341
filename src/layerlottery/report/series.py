"""The numbers behind the figures and tables; nothing here draws."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from layerlottery.report.tables import dense, tickets
from layerlottery.tables.statistics import geometric_mean

SAVINGS = ["macs_reduction", "params_reduction", "memory_reduction", "energy_reduction"]
SPEEDUPS = ["predicted_speedup", "train_speedup", "latency_speedup"]


def confidence_of(summary: pd.DataFrame) -> float:
    """The level of the summary's intervals."""
    # a table of dense networks alone has no intervals whose level could be asked for
    return math.nan if summary.empty else float(summary["confidence"].iloc[0])


def by_seed(frame: pd.DataFrame, keys: Sequence[str], value: str) -> pd.DataFrame:
    """One value per seed and keys: the seed is the unit, so several draws are averaged first."""
    # dense networks have no criterion
    return frame.groupby([*keys, "seed"], sort=False, dropna=False)[value].mean().reset_index()


def over_seeds(frame: pd.DataFrame, keys: Sequence[str], value: str) -> pd.DataFrame:
    """Mean, least and greatest value over seeds, and their number; rows in order of appearance."""
    grouped = by_seed(frame, keys, value).groupby(list(keys), sort=False, dropna=False)[value]
    return grouped.agg(mean="mean", low="min", high="max", seeds="count").reset_index()


def accuracy_by_removed(runs: pd.DataFrame) -> pd.DataFrame:
    """Accuracy over seeds; one row per criterion and blocks removed (dense: no criterion, none removed)."""
    return over_seeds(runs, ["criterion", "removed"], "accuracy")


def attack_by_epsilon(robustness: pd.DataFrame, attack: str) -> pd.DataFrame:
    """Accuracy over seeds per criterion, blocks removed and level; level 0 are the same images untouched."""
    rows = robustness[robustness["name"] == attack]
    return over_seeds(rows, ["criterion", "removed", "level"], "accuracy").sort_values("level", kind="stable")


def difference_by_condition(robustness: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Mean paired difference to dense over seeds and levels; rows: family and blocks removed; columns: conditions."""
    rows = tickets(robustness[robustness["kind"] == kind])
    means = over_seeds(rows, ["family", "removed", "name"], "delta_accuracy")
    return means.pivot_table(index=["family", "removed"], columns="name", values="mean", sort=False)


def accuracy_by_condition(robustness: pd.DataFrame, kind: str) -> pd.Series:
    """Mean accuracy of the dense networks under every condition, over seeds and levels."""
    rows = dense(robustness[robustness["kind"] == kind])
    return rows.groupby("name")["accuracy"].mean()


def curves_by_epoch(curves: pd.DataFrame) -> pd.DataFrame:
    """Test accuracy over seeds per criterion, blocks removed and epoch."""
    return over_seeds(curves, ["criterion", "removed", "epoch"], "test_accuracy")


def similarity_by_removed(similarity: pd.DataFrame) -> pd.DataFrame:
    """CKA at the penultimate layer over seeds per criterion and blocks removed."""
    return over_seeds(similarity[similarity["layer"] == "penultimate"], ["criterion", "removed"], "cka")


def similarity_by_layer(similarity: pd.DataFrame) -> pd.DataFrame:
    """CKA over seeds per criterion, blocks removed and place in the dense network, in that order of places."""
    return over_seeds(similarity, ["criterion", "removed", "position"], "cka").sort_values("position", kind="stable")


def cost_by_removed(summary: pd.DataFrame) -> pd.DataFrame:
    """Savings by blocks removed, averaged over criteria (speed-ups geometrically), with the spread between them.

    `summary` holds the rows of one tolerance. predicted_speedup is 1 / (1 - MACs saved): the speed-up
    of a machine whose time is proportional to MACs.
    """
    left = 1 - summary["macs_reduction"] / 100
    grouped = summary.assign(predicted_speedup=1 / left.where(left > 0)).groupby(["structure", "removed"])
    arithmetic = grouped[SAVINGS].mean()
    geometric = grouped[SPEEDUPS].agg(_geometric)
    low = grouped[SAVINGS + SPEEDUPS].min().add_suffix("_min")
    high = grouped[SAVINGS + SPEEDUPS].max().add_suffix("_max")
    return arithmetic.join(geometric).join(low).join(high).reset_index()


def _geometric(values: pd.Series) -> float:
    known = values.dropna().tolist()
    return geometric_mean(known) if known else math.nan


def removal_shares(runs: pd.DataFrame) -> pd.DataFrame:
    """The share of choices (seeds times draws) that removed each block.

    One row per criterion, scored_at, removed and block: where the training starts changes no choice.
    """
    keys = ["criterion", "scored_at", "removed"]
    rows = tickets(runs)
    rows = rows[rows["structure"] == "layers"].drop_duplicates([*keys, "seed", "draw"])
    choices = rows.groupby(keys).size().rename("choices")
    gone = rows[[*keys, "removed_blocks"]].explode("removed_blocks").dropna(subset=["removed_blocks"])
    counts = gone.groupby([*keys, "removed_blocks"]).size().rename("count").reset_index()
    counts = counts.merge(choices.reset_index(), on=keys)
    return counts.assign(share=counts["count"] / counts["choices"])
