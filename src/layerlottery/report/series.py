"""The numbers behind the figures and tables; nothing here draws."""

from __future__ import annotations

import math

import pandas as pd

from layerlottery.report.tables import GROUP, is_random, tickets
from layerlottery.results.statistics import estimate, geometric_mean

TICKET_KEYS = [*GROUP, "family", "density"]
SAVINGS = ["macs_reduction", "params_reduction", "memory_reduction", "energy_reduction"]
SPEEDUPS = ["predicted_speedup", "train_speedup", "latency_speedup"]


def confidence_of(summary: pd.DataFrame) -> float:
    """The level of the summary's intervals."""
    # a table of dense networks alone has no intervals whose level could be asked for
    return math.nan if summary.empty else float(summary["confidence"].iloc[0])


def accuracy_by_density(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean, least and greatest accuracy over seeds; one row per family and density (dense: density 0)."""
    grouped = runs.groupby(["family", "density"], sort=True)["accuracy"]
    return grouped.agg(mean="mean", low="min", high="max", seeds="count").reset_index()


def attack_by_epsilon(robustness: pd.DataFrame, attack: str) -> pd.DataFrame:
    """Mean accuracy over seeds per family, density and level; level 0 are the same images untouched."""
    rows = robustness[(robustness["kind"] == "attack") & (robustness["name"] == attack)]
    return rows.groupby(["family", "density", "level"])["accuracy"].mean().rename("mean").reset_index()


def difference_by_condition(robustness: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Mean paired difference to dense over seeds and levels: rows are family and density, columns are conditions."""
    rows = tickets(robustness[robustness["kind"] == kind])
    return rows.pivot_table(
        index=["family", "density"], columns="name", values="delta_accuracy", aggfunc="mean", sort=False
    )


def accuracy_by_condition(robustness: pd.DataFrame, kind: str) -> pd.Series:
    """Mean accuracy of the dense networks under every condition, over seeds and levels."""
    rows = robustness[(robustness["kind"] == kind) & (robustness["density"] == 0)]
    return rows.groupby("name")["accuracy"].mean()


def curves_by_epoch(curves: pd.DataFrame) -> pd.DataFrame:
    """Mean test accuracy over seeds per family, density and epoch."""
    grouped = curves.groupby(["family", "density", "epoch"])["test_accuracy"]
    return grouped.mean().rename("mean").reset_index()


def cost_by_density(summary: pd.DataFrame) -> pd.DataFrame:
    """What a density saves, averaged over criteria (speed-ups geometrically), with the spread between them.

    `summary` holds the rows of one tolerance. predicted_speedup is 1 / (1 - MACs saved): the speed-up
    of a machine whose time is proportional to MACs.
    """
    left = 1 - summary["macs_reduction"] / 100
    grouped = summary.assign(predicted_speedup=1 / left.where(left > 0)).groupby(["structure", "density"])
    arithmetic = grouped[SAVINGS].mean()
    geometric = grouped[SPEEDUPS].agg(_geometric)
    low = grouped[SAVINGS + SPEEDUPS].min().add_suffix("_min")
    high = grouped[SAVINGS + SPEEDUPS].max().add_suffix("_max")
    return arithmetic.join(geometric).join(low).join(high).reset_index()


def _geometric(values: pd.Series) -> float:
    known = values.dropna().tolist()
    return geometric_mean(known) if known else math.nan


def against_random(runs: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Every ticket against random removal at the same density, paired over seeds.

    Several random criteria are averaged within a seed first. One row per ticket: seeds, difference
    (percentage points), low, high, and whether it is better, worse or can't be told from random.
    """
    keys = [*GROUP, "structure", "rewind", "density", "seed"]
    rows = tickets(runs)
    drawn = rows["criterion"].isin(is_random(runs))
    control = rows[drawn].groupby(keys)["delta_accuracy"].mean().rename("control").reset_index()
    paired = rows[~drawn].merge(control, on=keys)
    paired["difference"] = paired["delta_accuracy"] - paired["control"]
    found = [
        (*key, *_compared(one["difference"].tolist(), confidence))
        for key, one in paired.groupby(TICKET_KEYS, sort=True)
    ]
    return pd.DataFrame(found, columns=[*TICKET_KEYS, "seeds", "difference", "low", "high", "outcome"])


def _compared(values: list[float], confidence: float) -> tuple[int, float, float, float, str]:
    found = estimate(values, confidence=confidence)
    low, high = (math.nan if end is None else end for end in (found.low, found.high))
    outcome = "better" if low > 0 else "worse" if high < 0 else "can't tell"
    return len(values), found.mean, low, high, outcome


def removal_shares(runs: pd.DataFrame) -> pd.DataFrame:
    """The share of seeds that removed each block: one row per family, density and removed block."""
    rows = tickets(runs)
    rows = rows[rows["structure"] == "layers"]
    seeds = rows.groupby(["family", "density"])["seed"].nunique().rename("seeds")
    gone = rows[["family", "density", "removed"]].explode("removed").dropna(subset=["removed"])
    counts = gone.groupby(["family", "density", "removed"]).size().rename("count").reset_index()
    counts = counts.merge(seeds.reset_index(), on=["family", "density"])
    return counts.assign(share=counts["count"] / counts["seeds"])
