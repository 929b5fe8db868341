"""The table `summary`: one row per ticket, over its seeds, and tolerance ξ."""

from __future__ import annotations

import numpy as np
import pandas as pd

from layerlottery.config.results import StatisticsSettings
from layerlottery.tables.measures import KINDS
from layerlottery.tables.seeds import identities, per_seed, pruned, samples
from layerlottery.tables.statistics import (
    ROUNDING,
    Array,
    averages,
    bootstraps,
    holm,
    infer,
    t_test,
    tolerance,
    verdict,
    verdict_of_tests,
    within,
)

NETWORK = ["dataset", "network"]
MEANS = [f"{saving}_reduction" for saving in ("macs", "params", "memory", "energy")]
RATIOS = ["train_speedup", "latency_speedup"]


def summary(networks: pd.DataFrame, settings: StatisticsSettings) -> pd.DataFrame:
    """One row per ticket and tolerance ξ.

    `networks` are rows of the table runs with the sums of their differences to the dense network's accuracy
    under all conditions of each kind, and how many there are.
    """
    tickets = pruned(networks)
    seeds = per_seed(tickets, tickets[["accuracy", "delta_accuracy"]])
    accuracies, deltas = (samples(seeds[name]).to_numpy() for name in seeds)
    common = _common(tickets, accuracies, deltas, settings)
    allowed = networks[networks["removed"] == 0].groupby(NETWORK)["accuracy"]
    found = []
    for xi in settings.xi:
        points = allowed.agg(lambda own, xi=xi: tolerance(xi, own)).rename("xi_points")
        rows = common.join(points, on=NETWORK).assign(xi=xi if isinstance(xi, str) else f"{xi:g}")
        found.append(_judged(rows, tickets, deltas, settings.confidence))
    return pd.concat(found).sort_index(kind="stable")


def _common(tickets: pd.DataFrame, accuracies: Array, deltas: Array, settings: StatisticsSettings) -> pd.DataFrame:
    """Columns that hold for every ξ."""
    accuracy, delta = (infer(one, confidence=settings.confidence) for one in (accuracies, deltas))
    ends = bootstraps(deltas, confidence=settings.confidence, resamples=settings.resamples)
    return identities(tickets).assign(
        seeds=delta["seeds"],
        networks=tickets.groupby("ticket").size(),
        accuracy=accuracy["mean"],
        accuracy_sd=accuracy["sd"],
        delta_accuracy=delta["mean"],
        delta_sd=delta["sd"],
        delta_low=delta["low"],
        delta_high=delta["high"],
        boot_low=ends[:, 0],
        boot_high=ends[:, 1],
        confidence=settings.confidence,
        **_savings(tickets),
        **_robustness(tickets),
    )


def _savings(tickets: pd.DataFrame) -> dict[str, Array]:
    """Means over seeds, of ratios geometric ones: a doubling and a halving cancel."""
    seeds = per_seed(tickets, tickets[MEANS].join(np.log(tickets[RATIOS])))
    found = {name: averages(samples(seeds[name]).to_numpy()) for name in seeds}
    return found | {name: np.exp(found[name]) for name in RATIOS}


def _robustness(tickets: pd.DataFrame) -> dict[str, Array]:
    """Means over the seeds that were tested; a kind without any condition has none."""
    sums, counts = ([f"{kind}_{part}" for kind in KINDS] for part in ("sum", "count"))
    seeds = per_seed(tickets, tickets[[*sums, *counts]])
    return {
        f"{kind}_delta": averages(samples(seeds[total] / seeds[count]).to_numpy())
        for kind, total, count in zip(KINDS, sums, counts, strict=True)
    }


def _judged(rows: pd.DataFrame, tickets: pd.DataFrame, deltas: Array, confidence: float) -> pd.DataFrame:
    """Rows of one ξ with their verdicts; Holm's correction is made within the tickets of a dataset and network."""
    points = rows["xi_points"].to_numpy()
    # the bound of `within`, so that these tests and the t interval's verdict never part
    tests = {name: t_test(deltas, -points - ROUNDING, name) for name in ("greater", "less")}
    rows = rows.assign(p_value=tests["greater"], p_losing=tests["less"])
    won = within(tickets["delta_accuracy"], points[tickets["ticket"]])
    families = rows.groupby(NETWORK)
    p_holm = families["p_value"].transform(holm)
    return rows.assign(
        won=pd.Series(won).groupby(tickets["ticket"].to_numpy()).sum().where(~np.isnan(points)),
        verdict=verdict(rows["delta_low"], rows["delta_high"], points),
        p_holm=p_holm,
        tickets=families["p_value"].transform("count").where(p_holm.notna()),
        verdict_holm=verdict_of_tests(p_holm, families["p_losing"].transform(holm), confidence=confidence),
    )
