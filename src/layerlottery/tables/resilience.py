"""The table `resilience`: every measure of robustness, tickets against their dense networks, paired by seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from layerlottery.tables.collect import CONDITION
from layerlottery.tables.measures import DETECTED, VALUES, ConditionName, Measure, detected, differences, measures
from layerlottery.tables.pairing import OUTLIERS
from layerlottery.tables.seeds import identities, per_seed, pruned, samples
from layerlottery.tables.statistics import Array, averages, holm, infer, outcome


class Measurements:
    """Every measure of every network, worked out a batch at a time."""

    def __init__(self) -> None:
        self._numbers: dict[Measure, int] = {}
        self._parts: list[tuple[pd.Index, list[int], Array]] = []
        self._differences: list[pd.DataFrame] = []

    def add(self, conditions: pd.DataFrame, outliers: pd.DataFrame) -> None:
        """Work out the measures of a batch from the rows of its networks."""
        for places, names, held in alike(conditions, CONDITION, [*VALUES, "dense_accuracy", "delta_accuracy"]):
            known = [ConditionName(*name) for name in names]
            self._keep(places, measures(known, held, held["dense_accuracy"]))
            self._differences.append(pd.DataFrame(differences(known, held["delta_accuracy"]), index=places))
        for places, sets, held in alike(outliers, OUTLIERS, list(DETECTED)):
            self._keep(places, detected(sets, held))

    def _keep(self, places: pd.Index, found: dict[Measure, Array]) -> None:
        numbers = [self._numbers.setdefault(measure, len(self._numbers)) for measure in found]
        self._parts.append((places, numbers, np.column_stack(list(found.values()))))

    def differences(self) -> pd.DataFrame:
        """Sums of differences in accuracy by kind of condition, and of how many, by the network's place."""
        return pd.concat(self._differences)

    def names(self) -> pd.DataFrame:
        """The measures in the order of first appearance."""
        return pd.DataFrame(list(self._numbers))

    def values(self, networks: int) -> Array:
        """(networks, measures); NaN where a network has no value."""
        whole = np.full((networks, len(self._numbers)), np.nan)
        for places, numbers, values in self._parts:
            whole[np.ix_(places, numbers)] = values
        return whole


def alike(
    rows: pd.DataFrame, keys: list[str], columns: list[str]
) -> Iterator[tuple[pd.Index, list[tuple[Any, ...]], dict[str, Array]]]:
    """Networks that were tested under the same conditions, together.

    Their places, what `keys` hold in each of their rows, and the columns as (networks, rows).
    """
    numbers = rows.groupby(keys, sort=False).ngroup()
    patterns = numbers.groupby(rows["place"]).agg(tuple)
    kinds = pd.factorize(patterns)[0]
    for kind in range(kinds.max(initial=-1) + 1):
        places = patterns.index[kinds == kind]
        own = rows[rows["place"].isin(places)]
        names = own.loc[own["place"] == places[0], keys].itertuples(index=False, name=None)
        yield places, list(names), {name: own[name].to_numpy().reshape(len(places), -1) for name in columns}


def resilience(networks: pd.DataFrame, found: Measurements, *, confidence: float) -> pd.DataFrame:
    """One row per ticket and measure that both networks have.

    `networks` are all rows of the table runs, with the place of their dense network: `dense`. The seed is the unit:
    draws are averaged first.
    """
    tickets, values = pruned(networks), pd.DataFrame(found.values(len(networks)))
    ours = per_seed(tickets, values.loc[tickets.index])
    theirs = values.loc[tickets.groupby(["ticket", "seed"])["dense"].first()].set_axis(ours.index)
    differences = ours - theirs
    pairs = samples(differences)
    rows = infer(pairs.to_numpy(), confidence=confidence).set_axis(pairs.index).rename(columns={"mean": "difference"})
    for name, side in (("value", ours), ("dense", theirs)):
        rows[name] = averages(samples(side.where(differences.notna())).to_numpy())
    rows = rows[rows["seeds"] > 0].reset_index(names=["ticket", "number"])
    rows = rows.join(identities(tickets), on="ticket").join(found.names(), on="number")
    rows["p_holm"] = rows.groupby(["dataset", "network", "number"])["p_value"].transform(holm)
    gains = rows["difference"].where(rows["better"] == "higher", -rows["difference"])
    return rows.assign(outcome=outcome(gains, rows["p_holm"], confidence=confidence))
