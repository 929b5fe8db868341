"""The table `summary`: one row per ticket, over its seeds, and tolerance ξ."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from layerlottery.results.schemas import TICKET
from layerlottery.results.statistics import (
    average,
    bootstrap,
    estimate,
    geometric_mean,
    holm,
    p_tolerance,
    saved,
    seed_means,
    tolerance,
    verdict,
    verdict_of_tests,
    within,
)
from layerlottery.settings import StatisticsSettings

Row = dict[str, Any]


def grouped(rows: Iterable[Row], names: Iterable[str]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their values in the named columns, in the order of first appearance."""
    names, groups = list(names), defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in names)].append(row)
    return dict(groups)


def by_ticket(rows: Iterable[Row]) -> dict[tuple[Any, ...], list[Row]]:
    """Rows of every ticket: its seeds and draws. Dense networks are left out."""
    return grouped((row for row in rows if row["density"]), [column.name for column in TICKET])


def identity(row: Row) -> Row:
    """The columns that name a ticket."""
    return {column.name: row[column.name] for column in TICKET}


def summary_rows(runs: Sequence[Row], robustness: Sequence[Row], settings: StatisticsSettings) -> list[Row]:
    """One row per ticket and tolerance ξ: the seed is the unit, draws are averaged within it first."""
    dense = grouped((row for row in runs if not row["density"]), ["dataset", "network"])
    conditions = by_ticket(robustness)
    summary = []
    for ticket, rows in by_ticket(runs).items():
        parents = dense[ticket[:2]]
        common = identity(rows[0]) | _means(rows, parents, settings) | _robustness(conditions.get(ticket, []))
        summary += [common | row for row in _verdicts(rows, parents, settings)]
    for family in grouped(summary, ["dataset", "network", "xi"]).values():
        _correct(family, settings.confidence)
    return summary


def _per_seed(rows: Iterable[Row], column: str, mean: Callable[[Sequence[float]], float] = average) -> list[float]:
    return list(seed_means(((row["seed"], row[column]) for row in rows), mean).values())


def _verdicts(rows: Sequence[Row], dense: Sequence[Row], settings: StatisticsSettings) -> list[Row]:
    deltas = _per_seed(rows, "delta_accuracy")
    delta = estimate(deltas, confidence=settings.confidence)
    found = []
    for xi in settings.xi:
        points = tolerance(xi, [row["accuracy"] for row in dense])
        won = None if points is None else sum(within(row["delta_accuracy"], points) for row in rows)
        found.append(
            {
                "xi": xi if isinstance(xi, str) else f"{xi:g}",
                "xi_points": points,
                "won": won,
                "verdict": verdict(delta, points),
                "p_value": p_tolerance(deltas, points, "greater"),
                "p_losing": p_tolerance(deltas, points, "less"),
            }
        )
    return found


def _correct(family: Sequence[Row], confidence: float) -> None:
    """Holm's correction within the tickets of one dataset, network and ξ; `p_losing` is no column."""
    winning = holm([row["p_value"] for row in family])
    losing = holm([row.pop("p_losing") for row in family])
    tested = sum(p is not None for p in winning)
    for row, p_winning, p_losing in zip(family, winning, losing, strict=True):
        row["p_holm"] = p_winning
        row["tickets"] = None if p_winning is None else tested
        row["verdict_holm"] = verdict_of_tests(p_winning, p_losing, confidence=confidence)


def _means(rows: Sequence[Row], dense: Sequence[Row], settings: StatisticsSettings) -> Row:
    parents = {row["seed"]: row for row in dense}
    rows = [row | _savings(row, parents[row["seed"]]) for row in rows]
    deltas = _per_seed(rows, "delta_accuracy")
    accuracy = estimate(_per_seed(rows, "accuracy"), confidence=settings.confidence)
    delta = estimate(deltas, confidence=settings.confidence)
    low, high = bootstrap(deltas, confidence=settings.confidence, resamples=settings.resamples)
    means: Row = {
        "seeds": len(deltas),
        "networks": len(rows),
        "accuracy": accuracy.mean,
        "accuracy_sd": accuracy.sd,
        "delta_accuracy": delta.mean,
        "delta_sd": delta.sd,
        "delta_low": delta.low,
        "delta_high": delta.high,
        "boot_low": low,
        "boot_high": high,
        "confidence": settings.confidence,
    }
    for saving in ("macs", "params", "memory", "energy"):
        means[f"{saving}_reduction"] = average(_per_seed(rows, f"{saving}_reduction"))
    for ratio in ("train_speedup", "latency_speedup"):
        means[ratio] = geometric_mean(_per_seed(rows, ratio, geometric_mean))
    return means


def _savings(row: Row, dense: Row) -> Row:
    return {
        "params_reduction": saved(row["params"], dense["params"]),
        "latency_speedup": dense["latency_ms"] / row["latency_ms"],
    }


def _robustness(conditions: Sequence[Row]) -> Row:
    means: Row = {}
    for kind in ("attack", "corruption", "shift"):
        deltas = _per_seed((row for row in conditions if row["kind"] == kind and _counts(row)), "delta_accuracy")
        means[f"{kind}_delta"] = average(deltas) if deltas else None
    return means


def _counts(row: Row) -> bool:
    """Epsilon 0 is no attack; shifted sets have no level."""
    return bool(row["kind"] != "attack" or row["level"] > 0)
