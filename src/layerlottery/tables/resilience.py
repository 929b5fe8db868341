"""The table `resilience`: every measure of robustness, tickets against their dense networks, paired by seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from layerlottery.store.schemas import TICKET
from layerlottery.tables.collect import Batch
from layerlottery.tables.conditions import Array, Conditions
from layerlottery.tables.measures import DETECTED, VALUES, Measure, detected, measures
from layerlottery.tables.pairing import Pair, Row
from layerlottery.tables.statistics import ROUNDING, holm_columns, outcome
from layerlottery.tables.summary import by_seed, by_ticket

# one value for every ticket (rows) and measure (columns)
Statistics = dict[str, Array]


class Measurements:
    """Every measure of every network, in their order; NaN where one has no value."""

    def __init__(self, conditions: Conditions) -> None:
        self.names: list[Measure] = []
        self._conditions = conditions
        self._columns: dict[Measure, int] = {}
        self._blocks: list[dict[int, Array]] = []
        self._networks: list[int] = []

    def add(self, batch: Batch, pairs: Sequence[Pair]) -> None:
        """Work out the measures of a batch: those of networks that were tested alike together."""
        block: dict[int, Array] = {}
        table, starts = batch.tables["robustness"], _starts(batch.rows["robustness"])
        columns = {name: table[name].to_numpy() for name in VALUES}
        for places in _alike([pair.places.tobytes() for pair in pairs]):
            own = pairs[places[0]].places
            at = starts[places][:, np.newaxis] + np.arange(len(own))
            dense = np.stack([pairs[place].dense for place in places])
            held = {name: values[at] for name, values in columns.items()}
            self._keep(block, len(pairs), places, measures(self._conditions.of(own), held, dense))
        self._add_detection(batch, block)
        self._blocks.append(block)
        self._networks.append(len(pairs))

    def _add_detection(self, batch: Batch, block: dict[int, Array]) -> None:
        table, starts = batch.tables["detection"], _starts(batch.rows["detection"])
        sets = list(zip(table["outliers"].to_pylist(), table["score"].to_pylist(), strict=True))
        columns = {name: table[name].to_numpy() for name in DETECTED}
        ends = starts + np.array(batch.rows["detection"], dtype=np.int64)
        patterns = [repr(sets[start:end]).encode() for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        for places in _alike(patterns):
            first, size = int(starts[places[0]]), batch.rows["detection"][places[0]]
            at = starts[places][:, np.newaxis] + np.arange(size)
            found = detected(sets[first : first + size], {name: values[at] for name, values in columns.items()})
            self._keep(block, len(patterns), places, found)

    def _keep(self, block: dict[int, Array], size: int, places: list[int], found: dict[Measure, Array]) -> None:
        for measure, values in found.items():
            if measure not in self._columns:
                self._columns[measure] = len(self.names)
                self.names.append(measure)
            block.setdefault(self._columns[measure], np.full(size, np.nan))[places] = values

    def matrix(self) -> Array:
        """(networks, measures)."""
        whole = np.full((sum(self._networks), len(self.names)), np.nan)
        for block, end, size in zip(self._blocks, np.cumsum(self._networks).tolist(), self._networks, strict=True):
            for column, values in block.items():
                whole[end - size : end, column] = values
        return whole


def _starts(counts: Sequence[int]) -> Any:
    return np.cumsum([0, *counts])[:-1]


def _alike(patterns: Sequence[bytes]) -> list[list[int]]:
    """Places of equal patterns."""
    found: dict[bytes, list[int]] = {}
    for place, pattern in enumerate(patterns):
        found.setdefault(pattern, []).append(place)
    return list(found.values())


def resilience_columns(runs: Sequence[Row], found: Measurements, *, confidence: float) -> tuple[dict[str, Any], int]:
    """The table's columns, and the number of its rows: one per ticket and measure that both networks have.

    `runs` are rows of that table in the order in which `found` has them. The seed is the unit: draws are averaged
    first. Where all seeds agree p is 1 if the difference is 0, and 0 if not.
    """
    networks = [row | {"place": place} for place, row in enumerate(runs)]
    dense = {(one["dataset"], one["network"], one["seed"]): one["place"] for one in networks if not one["removed"]}
    tickets = by_ticket(networks)
    if not tickets or not found.names:
        return {}, 0
    matrix = found.matrix()
    described = [_paired(rows, dense, matrix, confidence) for rows in tickets.values()]
    held: Statistics = {name: np.stack([one[name] for one in described]) for name in described[0]}
    held["p_holm"] = _corrected(list(tickets), held["p_value"])
    return _columns(list(tickets), found.names, held, confidence)


def _paired(rows: Sequence[Row], dense: dict[tuple[Any, ...], int], matrix: Array, confidence: float) -> Statistics:
    """Means over the seeds that have both, and the interval and t test of their differences, for every measure."""
    seeds = by_seed(rows)
    ours = np.stack([matrix[[row["place"] for row in seed]].mean(axis=0) for seed in seeds])
    theirs = matrix[[dense[seed[0]["dataset"], seed[0]["network"], seed[0]["seed"]] for seed in seeds]]
    differences = ours - theirs
    known = ~np.isnan(differences)
    counts = known.sum(axis=0)
    value, other, difference = (_mean(one, known, counts) for one in (ours, theirs, differences))
    return {"seeds": counts, "value": value, "dense": other, "difference": difference} | _tested(
        np.where(known, differences - difference, 0.0), difference, counts, confidence
    )


def _mean(values: Array, known: Any, counts: Any) -> Array:
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=0) / counts)


def _tested(deviations: Array, mean: Array, counts: Any, confidence: float) -> Statistics:
    """Standard deviation, t interval and two-sided t test against 0; NaN with fewer than two seeds."""
    from scipy.special import stdtr, stdtrit

    freedom = np.where(counts > 1, counts - 1, np.nan)
    sd = np.sqrt((deviations**2).sum(axis=0) / freedom)
    error = sd / np.sqrt(np.maximum(counts, 1))
    reach = stdtrit(freedom, (1 + confidence) / 2) * error
    constant = np.ptp(deviations, axis=0) <= ROUNDING
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(freedom, -np.abs(mean / error))
    p = np.where(constant, np.where(np.abs(mean) <= ROUNDING, 1.0, 0.0), p)
    return {"sd": sd, "low": mean - reach, "high": mean + reach, "p_value": np.where(counts > 1, p, np.nan)}


def _corrected(tickets: Sequence[tuple[Any, ...]], p_values: Array) -> Array:
    """Holm's correction within the tickets of one dataset, network and measure."""
    corrected = np.empty_like(p_values)
    for family in dict.fromkeys(ticket[:2] for ticket in tickets):
        rows = [place for place, ticket in enumerate(tickets) if ticket[:2] == family]
        corrected[rows] = holm_columns(p_values[rows])
    return corrected


def _columns(
    tickets: Sequence[tuple[Any, ...]], names: Sequence[Measure], held: Statistics, confidence: float
) -> tuple[dict[str, Any], int]:
    import pyarrow as pa

    rows, columns = np.nonzero(held["seeds"])
    found: dict[str, Any] = {
        column.name: pa.array([ticket[place] for ticket in tickets], column.type).take(pa.array(rows))
        for place, column in enumerate(TICKET)
    }
    for place, name in enumerate(Measure._fields):
        found[name] = pa.array([measure[place] for measure in names]).take(pa.array(columns))
    flat = {name: values[rows, columns] for name, values in held.items()}
    found |= {name: pa.array(values, from_pandas=True) for name, values in flat.items()}
    signs = np.where([measure.better == "higher" for measure in names], 1.0, -1.0)[columns]
    known = [None if np.isnan(p) else p for p in flat["p_holm"].tolist()]
    gains = (flat["difference"] * signs).tolist()
    found["outcome"] = pa.array([outcome(gain, p, confidence=confidence) for gain, p in zip(gains, known, strict=True)])
    return found, len(rows)
