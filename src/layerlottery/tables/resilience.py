"""The table `resilience`: every measure, tickets against their dense networks, paired by seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from layerlottery.cost.carbon import measured as power_measured
from layerlottery.tables.collect import CONDITION
from layerlottery.tables.inference import NETWORK, Contrasts, Inference, Measured
from layerlottery.tables.measures import (
    CO2,
    DETECTED,
    EXPLORATORY,
    PRIMARY,
    VALUES,
    ConditionName,
    Measure,
    accuracies,
    count_alike,
    detected,
    differences,
    endpoint,
    measures,
)
from layerlottery.tables.pairing import OUTLIERS
from layerlottery.tables.seeds import are_controls, identities, pruned
from layerlottery.tables.statistics import Array, holm, outcome, yekutieli


class Measurements:
    """Every measure of every network, worked out a batch at a time."""

    def __init__(self) -> None:
        self._numbers: dict[Measure, int] = {}
        self._parts: list[tuple[pd.Index, list[int], Array]] = []
        self._differences: list[pd.DataFrame] = []
        # of means of accuracies: networks that were tested alike, what one image is to them, under which conditions
        self._means: dict[Measure, list[tuple[pd.Index, Array, list[ConditionName]]]] = defaultdict(list)

    def add(self, conditions: pd.DataFrame, outliers: pd.DataFrame) -> None:
        """Work out the measures of a batch from the rows of its networks."""
        columns = [*VALUES, "images", "dense_accuracy", "delta_accuracy"]
        for places, names, held in alike(conditions, CONDITION, columns):
            known = [ConditionName(*name) for name in names]
            self._keep(places, measures(known, held, held["dense_accuracy"]))
            self._differences.append(pd.DataFrame(differences(known, held["delta_accuracy"]), index=places))
            for measure, parts in accuracies(known).items():
                every = [place for part in parts for place in part]
                means = [known[at] for at in every] if count_alike(parts) else []
                self._means[measure].append((places, 100 / held["images"][:, every].min(axis=1), means))
        for places, sets, held in alike(outliers, OUTLIERS, list(DETECTED)):
            self._keep(places, detected(sets, held))

    def _keep(self, places: pd.Index, found: dict[Measure, Array]) -> None:
        numbers = [self._numbers.setdefault(measure, len(self._numbers)) for measure in found]
        self._parts.append((places, numbers, np.column_stack(list(found.values()))))

    def differences(self) -> pd.DataFrame:
        """Sums of differences in accuracy by kind of condition, and of how many, by the network's place."""
        return pd.concat(self._differences)

    def each(self, networks: int) -> Iterator[tuple[Measure, Measured]]:
        """The measures in the order of first appearance, with the values of all networks."""
        whole = np.full((networks, len(self._numbers)), np.nan)
        for places, numbers, values in self._parts:
            whole[np.ix_(places, numbers)] = values
        for measure, number in self._numbers.items():
            yield measure, self._measured(measure, whole[:, number])

    def of(self, measure: Measure, networks: int) -> Measured:
        """One measure alone."""
        return dict(self.each(networks))[measure]

    def _measured(self, measure: Measure, values: Array) -> Measured:
        floor = np.full(len(values), np.nan)
        conditions: dict[int, list[ConditionName]] = {}
        for places, one_image, means in self._means.get(measure, ()):
            floor[places] = one_image
            conditions |= dict.fromkeys(places, means)
        return Measured(values, floor, conditions)


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


def resilience(networks: pd.DataFrame, found: Measurements, inference: Inference) -> pd.DataFrame:
    """One row per ticket and measure that both networks have; `ticket` and `level` come beside the table's columns.

    `networks` are all rows of the table runs, with the place of their dense network: `dense`.
    """
    tickets, primary = pruned(networks), inference.settings.primary
    ours = tickets[["seed", "place"]].assign(contrast=tickets["ticket"])
    beside = Contrasts.between(ours, ours.assign(place=tickets["dense"]).drop_duplicates(), len(networks))
    asked = [*found.each(len(networks)), *([(CO2, Measured(_measured_co2(networks)))] if "co2" in primary else [])]
    parts = []
    for measure, measured in asked:
        role = PRIMARY if endpoint(measure) in primary else EXPLORATORY
        parts.append(inference.of(beside, measured).assign(**measure._asdict(), role=role))
    rows = pd.concat(parts).rename_axis("ticket").reset_index()
    named = identities(tickets).assign(is_control=are_controls(tickets.drop_duplicates("ticket").set_index("ticket")))
    rows = rows.join(named, on="ticket").rename(columns={"ours": "value", "theirs": "dense"})
    return _corrected(rows).rename(columns={"mean": "difference"})


def _corrected(rows: pd.DataFrame) -> pd.DataFrame:
    """Primary endpoints of all tickets of a dataset and network are one family, those of controls another."""
    keys = [rows[one] for one in (*NETWORK, "is_control")]
    for name, role, correction in (("p_holm", PRIMARY, holm), ("q_value", EXPLORATORY, yekutieli)):
        rows[name] = rows["p_value"].where(rows["role"] == role).groupby(keys).transform(correction)
    rows["family"] = rows["p_value"].where(rows["role"] == PRIMARY).groupby(keys).transform("count")
    gains = rows["mean"].where(rows["better"] == "higher", -rows["mean"])
    return rows.assign(outcome=outcome(rows.assign(mean=gains), rows["p_holm"].fillna(rows["q_value"]), rows["alpha"]))


def _measured_co2(networks: pd.DataFrame) -> Array:
    """What each training emitted, where its power was measured: modelled power is time in other units."""
    known = networks["power_source"].map(power_measured)
    return np.asarray(networks["co2_kg"].where(known), dtype=np.float64)
