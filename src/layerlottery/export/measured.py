"""Robustness in a model card: the measures of the table `resilience`, of a network and of its dense one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from layerlottery import paths
from layerlottery.tables.measures import CLEAN, DETECTED, VALUES, ConditionName, Measure, detected, measures
from layerlottery.upkeep.show import StoredNetwork
from layerlottery.words import ABSENT, number

Facts = Mapping[str, Any]
Found = dict[Measure, float]
# title, heads, rows
Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]

TRANSFERRED = "accuracy, examples of the dense network"

# headings, and the beginnings of the measures below each
GROUPS = {
    "Clean test set": ("accuracy, clean",),
    "Corruptions": ("accuracy, corrupted", "accuracy, extra", "mCE", "relative mCE"),
    "Shifted test sets": ("accuracy, shifted", "gap"),
    "Attacks": ("accuracy, attacked", "median minimum norm", TRANSFERRED),
    "Calibration": ("NLL", "Brier", "ECE"),
    "Outliers told apart": tuple(measure for measure, _ in DETECTED.values()),
}


def robustness(description: Facts, network: StoredNetwork) -> list[Table]:
    """All measures that the network's files hold, beside those of its dense network; empty if there are none.

    The mean corruption errors (mCE) are relative to the dense network's, as in the table `resilience`.
    """
    run = network.run
    folder = network.folder(run.dense)
    theirs = [row for name in (paths.shift, paths.attack) for row in network.read(name, folder) or []]
    own = found(description["evaluation"], theirs) | found_outliers(description["detection"])
    # on the network that they were made with, transferred examples are no transfer
    dense = found([row for row in theirs if row["kind"] != "transfer"], theirs)
    dense |= found_outliers(network.read(paths.detection, folder) or [])
    width = 3 if run.removed else 2
    heads = ("measure", "this network", "dense network")[:width]
    rows = {one: (words(one), shown(one, value), shown(one, dense.get(one)))[:width] for one, value in own.items()}
    groups = {
        title: [row for one, row in rows.items() if one.measure.startswith(beginnings)]
        for title, beginnings in GROUPS.items()
    }
    return [(title, heads, group) for title, group in groups.items() if group]


def found(rows: Sequence[Facts], dense: Sequence[Facts]) -> Found:
    """The measures of a network's tests, from its rows and its dense network's; none without a clean test set."""
    own, other = _by_condition(rows), _by_condition(dense)
    conditions = list(own)
    if CLEAN not in conditions:
        return {}
    values = {name: _line(own[one].get(name) for one in conditions) for name in VALUES}
    theirs = _line(other.get(one, {}).get("accuracy") for one in conditions)
    computed = measures(conditions, values, theirs)
    transfers = {
        Measure(TRANSFERRED, one.name, one.level, "%", "higher"): own[one]["accuracy"]
        for one in conditions
        if one.kind == "transfer" and one.level > 0
    }
    return {measure: float(value[0]) for measure, value in computed.items()} | transfers


def found_outliers(rows: Sequence[Facts]) -> Found:
    """AUROC and false positive rates of telling outliers apart."""
    sets = [(row["outliers"], row["score"]) for row in rows]
    values = {name: _line(row[name] for row in rows) for name in DETECTED}
    return {measure: float(value[0]) for measure, value in detected(sets, values).items()}


def _by_condition(rows: Iterable[Facts]) -> dict[ConditionName, Facts]:
    """A condition that is tested twice counts once, the last time."""
    return {ConditionName(row["kind"], row["name"], row["level"]): row for row in rows}


def _line(values: Iterable[float | None]) -> Any:
    return np.array([[np.nan if value is None else value for value in values]], dtype=np.float64)


def words(measure: Measure) -> str:
    """The measure in words: its set or attack, strength and unit."""
    level = f"{measure.level:g}/255" if measure.level else None
    unit = f"{'from' if 'to' in measure.unit else 'in'} {measure.unit}"
    return ", ".join(filter(None, (measure.measure, (measure.name or "").replace("_", " "), level, unit)))


def shown(measure: Measure, value: float | None) -> str:
    """Percentages with two digits, other figures with four; a dash where there is none."""
    if value is None or np.isnan(value):
        return ABSENT
    return number(value, 2 if measure.unit in ("%", "pp", "1/255") else 4)
