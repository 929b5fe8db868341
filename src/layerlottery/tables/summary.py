"""The table `summary`: one row per ticket, over its seeds, and tolerance ξ."""

from __future__ import annotations

import numpy as np
import pandas as pd

from layerlottery.config.results import StatisticsSettings
from layerlottery.tables.inference import NETWORK
from layerlottery.tables.measures import CLEAN_ACCURACY, KINDS
from layerlottery.tables.power import detectable, more_seeds
from layerlottery.tables.same import same_as
from layerlottery.tables.seeds import are_controls, identities, per_seed, pruned, samples
from layerlottery.tables.statistics import (
    ROUNDING,
    UNDECIDED,
    Array,
    averages,
    bootstraps,
    described,
    holm,
    p_above,
    p_within,
    tolerance,
    verdicts,
    within,
)

MEANS = [f"{saving}_reduction" for saving in ("macs", "params", "memory", "energy")]
MEANS += ["total_seconds", "total_kwh", "total_co2_kg"]
RATIOS = ["train_speedup", "total_speedup", "latency_speedup"]
# what the table calls the columns of the inference on clean accuracy
INFERRED = {"value": "accuracy", "p_value": "p_difference", "p_holm": "p_difference_holm"}
INFERRED |= {f"{name}": f"delta_{name}" for name in ("sd", "se", "df", "low", "high")} | {
    "difference": "delta_accuracy"
}
UNCHANGED = ["seeds", "seed_variance", "image_variance", "method", "alpha", "family"]


def summary(networks: pd.DataFrame, inferred: pd.DataFrame, settings: StatisticsSettings) -> pd.DataFrame:
    """One row per ticket and tolerance ξ.

    `networks` are rows of the table runs with the sums of their differences to the dense network's accuracy
    under all conditions of each kind, and how many there are; `inferred` are rows of `resilience`.
    """
    tickets = pruned(networks)
    common = _common(tickets, inferred, settings)
    allowed = networks[networks["removed"] == 0].groupby(NETWORK)["accuracy"]
    found = []
    for xi in settings.xi:
        points = allowed.agg(lambda own, xi=xi: tolerance(xi, own)).rename("xi_points")
        rows = common.join(points, on=NETWORK).assign(xi=xi if isinstance(xi, str) else f"{xi:g}")
        found.append(_judged(rows, tickets))
    return pd.concat(found).sort_index(kind="stable")


def _common(tickets: pd.DataFrame, inferred: pd.DataFrame, settings: StatisticsSettings) -> pd.DataFrame:
    """Columns that hold for every ξ."""
    clean = inferred[inferred["measure"] == CLEAN_ACCURACY.measure].set_index("ticket")
    seeds = per_seed(tickets, tickets[["accuracy", "delta_accuracy"]])
    accuracies, deltas = (samples(seeds[name]).to_numpy() for name in seeds)
    ends = bootstraps(deltas, confidence=settings.confidence, resamples=settings.resamples)
    control = are_controls(tickets.drop_duplicates("ticket").set_index("ticket"))
    found = identities(tickets).assign(is_control=control).join(clean[[*INFERRED, *UNCHANGED]].rename(columns=INFERRED))
    return found.assign(
        networks=tickets.groupby("ticket").size(),
        same_as=same_as(tickets),
        accuracy_sd=described(accuracies)["sd"],
        boot_low=ends[:, 0],
        boot_high=ends[:, 1],
        confidence=1 - found["alpha"],
        detectable=detectable(
            *(found[name].to_numpy() for name in ("delta_se", "delta_df")), level=found["alpha"].to_numpy()
        ),
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


def _judged(rows: pd.DataFrame, tickets: pd.DataFrame) -> pd.DataFrame:
    """Rows of one ξ with their verdicts; tickets of a dataset and network are one family, controls another."""
    points, level = rows["xi_points"].to_numpy(), rows["alpha"].to_numpy()
    found = rows.rename(columns={"delta_accuracy": "mean", "delta_se": "se", "delta_df": "df"})
    won = within(tickets["delta_accuracy"], points[tickets["ticket"]])
    # the bound of `within`
    rows = rows.assign(p_winning=p_above(found, -points - ROUNDING), p_equivalent=p_within(found, points))
    families = rows.groupby([*NETWORK, "is_control"])
    corrected = {f"{name}_holm": families[name].transform(holm) for name in ("p_winning", "p_equivalent")}
    rows = rows.assign(
        **corrected,
        won=pd.Series(won).groupby(tickets["ticket"].to_numpy()).sum().where(~np.isnan(points)),
        tickets=families["p_winning"].transform("count").where(rows["p_winning"].notna()),
    )
    for end in ("", "_holm"):
        p = {name: rows[f"p_{name}{end}"] for name in ("winning", "difference", "equivalent")}
        rows[f"winning{end}"] = (p["winning"] <= level / 2).where(p["winning"].notna())
        rows[f"verdict{end}"] = verdicts(found, p["difference"], p["equivalent"], level)
    return rows.assign(more_seeds=_more_seeds(rows))


def _more_seeds(rows: pd.DataFrame) -> Array:
    """Of what Holm's correction leaves undecided; the first of its steps is stricter than some ticket's own."""
    names = ("delta_accuracy", "seed_variance", "image_variance", "delta_df", "seeds", "xi_points")
    given = (rows[name].fillna(0 if name == "image_variance" else np.nan).to_numpy(float) for name in names)
    # the first step of Holm's correction over tickets and primary endpoints
    found = more_seeds(*given, level=(rows["alpha"] / rows["family"]).to_numpy())
    return np.where(rows["verdict_holm"] == UNDECIDED, found, np.nan)
