"""The table `summary`: one row per ticket, over its seeds, and tolerance ξ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from layerlottery.config.results import StatisticsSettings
from layerlottery.store.schemas import TICKET
from layerlottery.tables.statistics import (
    Sample,
    averages,
    bootstraps,
    estimates,
    geometric_means,
    holm,
    p_tolerances,
    saved,
    tolerance,
    verdict,
    verdict_of_tests,
    within,
)

Row = dict[str, Any]
# what a ticket trained, by seed
Seeds = list[list[Row]]

KINDS = ("attack", "corruption", "shift")


def grouped(rows: Iterable[Row], names: Iterable[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their values in the named columns, in the order of first appearance."""
    names, groups = list(names), defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in names)].append(row)
    return dict(groups)


def by_ticket(rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows of every ticket: its seeds and draws. Dense networks are left out."""
    return grouped((row for row in rows if row["removed"]), [column.name for column in TICKET])


def identity(row: Row) -> Row:
    """The columns that name a ticket."""
    return {column.name: row[column.name] for column in TICKET}


def summary_rows(runs: Sequence[Row], settings: StatisticsSettings) -> list[Row]:
    """One row per ticket and tolerance ξ: the seed is the unit, draws are averaged within it first.

    `runs` are rows of that table, dense networks among them; under `attack`, `corruption` and `shift` each also
    holds its differences to the dense network's accuracy under all conditions of the kind.
    """
    dense = grouped((row for row in runs if not row["removed"]), ["dataset", "network"])
    costs = {(row["dataset"], row["network"], row["seed"]): row for rows in dense.values() for row in rows}
    tickets = [
        by_seed(row | _savings(row, costs[row["dataset"], row["network"], row["seed"]]) for row in rows)
        for rows in by_ticket(runs).values()
    ]
    deltas = per_seed(tickets, "delta_accuracy")
    parts = [[identity(ticket[0][0]) for ticket in tickets], _means(tickets, deltas, settings), _robustness(tickets)]
    common = [names | means | robustness for names, means, robustness in zip(*parts, strict=True)]
    found = [_verdicts(tickets, deltas, dense, xi, settings) for xi in settings.xi]
    summary = [one | row for one, *rows in zip(common, *found, strict=True) for row in rows]
    for family in grouped(summary, ["dataset", "network", "xi"]).values():
        _correct(family, settings.confidence)
    return summary


def by_seed(rows: Iterable[Row]) -> Seeds:
    """Rows of one ticket, those of each seed together, in the order of the seeds."""
    return [rows for _, rows in sorted(grouped(rows, ["seed"]).items())]


def nested(mean: Callable[[Sequence[Sample]], list[float]], samples: Sequence[Sequence[Sample]]) -> list[list[float]]:
    """The means of lists of samples, all taken at once."""
    means = iter(mean(list(chain.from_iterable(samples))))
    return [list(islice(means, len(some))) for some in samples]


def per_seed(
    tickets: Sequence[Seeds], column: str, mean: Callable[[Sequence[Sample]], list[float]] = averages
) -> list[list[float]]:
    """A column's mean for every seed of every ticket."""
    return nested(mean, [[[row[column] for row in rows] for rows in ticket] for ticket in tickets])


def _verdicts(
    tickets: Sequence[Seeds],
    deltas: Sequence[Sample],
    dense: dict[tuple[Any, ...], list[Row]],
    xi: float | str,
    settings: StatisticsSettings,
) -> list[Row]:
    """One row per ticket, for one ξ."""
    allowed = {family: tolerance(xi, [row["accuracy"] for row in rows]) for family, rows in dense.items()}
    points = [allowed[ticket[0][0]["dataset"], ticket[0][0]["network"]] for ticket in tickets]
    columns: dict[str, Iterable[Any]] = {
        "xi": [xi if isinstance(xi, str) else f"{xi:g}"] * len(tickets),
        "xi_points": points,
        "won": [_won(*one) for one in zip(tickets, points, strict=True)],
        "verdict": map(verdict, estimates(deltas, confidence=settings.confidence), points),
        "p_value": p_tolerances(deltas, points, "greater"),
        "p_losing": p_tolerances(deltas, points, "less"),
    }
    return in_rows(columns)


def in_rows(columns: dict[str, Iterable[Any]]) -> list[Row]:
    """Columns of one length as rows."""
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _won(ticket: Seeds, points: float | None) -> int | None:
    if points is None:
        return None
    return sum(within(row["delta_accuracy"], points) for rows in ticket for row in rows)


def _correct(family: Sequence[Row], confidence: float) -> None:
    """Holm's correction within the tickets of one dataset, network and ξ; `p_losing` is no column."""
    winning = holm([row["p_value"] for row in family])
    losing = holm([row.pop("p_losing") for row in family])
    tested = sum(p is not None for p in winning)
    for row, p_winning, p_losing in zip(family, winning, losing, strict=True):
        row["p_holm"] = p_winning
        row["tickets"] = None if p_winning is None else tested
        row["verdict_holm"] = verdict_of_tests(p_winning, p_losing, confidence=confidence)


def _means(tickets: Sequence[Seeds], deltas: Sequence[Sample], settings: StatisticsSettings) -> list[Row]:
    accuracy = estimates(per_seed(tickets, "accuracy"), confidence=settings.confidence)
    delta = estimates(deltas, confidence=settings.confidence)
    ends = bootstraps(deltas, confidence=settings.confidence, resamples=settings.resamples)
    columns: dict[str, Iterable[Any]] = {
        "seeds": map(len, tickets),
        "networks": [sum(map(len, ticket)) for ticket in tickets],
        "accuracy": [one.mean for one in accuracy],
        "accuracy_sd": [one.sd for one in accuracy],
        "delta_accuracy": [one.mean for one in delta],
        "delta_sd": [one.sd for one in delta],
        "delta_low": [one.low for one in delta],
        "delta_high": [one.high for one in delta],
        "boot_low": [low for low, _ in ends],
        "boot_high": [high for _, high in ends],
        "confidence": [settings.confidence] * len(tickets),
    }
    for saving in ("macs", "params", "memory", "energy"):
        columns[f"{saving}_reduction"] = averages(per_seed(tickets, f"{saving}_reduction"))
    for ratio in ("train_speedup", "latency_speedup"):
        columns[ratio] = geometric_means(per_seed(tickets, ratio, geometric_means))
    return in_rows(columns)


def _savings(row: Row, dense: Row) -> Row:
    return {
        "params_reduction": saved(row["params"], dense["params"]),
        "latency_speedup": dense["latency_ms"] / row["latency_ms"],
    }


def _robustness(tickets: Sequence[Seeds]) -> list[Row]:
    """Means over the seeds that were tested; a kind without any condition has none."""
    columns: dict[str, Iterable[Any]] = {}
    for kind in KINDS:
        tested = [[np.concatenate([row[kind] for row in rows]).tolist() for rows in ticket] for ticket in tickets]
        means = nested(averages, [[deltas for deltas in ticket if deltas] for ticket in tested])
        known = iter(averages([seeds for seeds in means if seeds]))
        columns[f"{kind}_delta"] = [next(known) if seeds else None for seeds in means]
    return in_rows(columns)
