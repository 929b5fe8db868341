"""Measures that sum up the tests of one network: means, errors relative to the dense network, calibration, detection.

Formulas: docs/robustness.md. All networks that were tested under the same conditions are computed together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from layerlottery.config.evaluation import EXTRA_CORRUPTIONS, MAIN_CORRUPTIONS
from layerlottery.tables.statistics import Array

Better = Literal["higher", "lower"]
Columns: TypeAlias = Mapping[str, Array]  # of the table robustness, (networks, conditions)
Indices: TypeAlias = list[int]


class ConditionName(NamedTuple):
    """The name of a row of the table robustness among those of one network."""

    kind: str
    name: str
    level: float


class Measure(NamedTuple):
    """One figure of a network; the fields are columns of the table resilience."""

    measure: str
    name: str | None
    level: float | None
    unit: str
    better: Better


Measured: TypeAlias = Iterator[tuple[Measure, Array]]

PRIMARY, EXPLORATORY = "primary", "exploratory"
CLEAN_ACCURACY = Measure("accuracy, clean", None, None, "%", "higher")
CORRUPTED, SHIFTED, ATTACKED = "accuracy, corrupted", "accuracy, shifted", "accuracy, attacked"
CO2 = Measure("CO2 of the training", None, None, "kg", "lower")

# columns of the table robustness that measures are made from
VALUES = ("accuracy", "norm", "nll", "brier", "ece", "nll_scaled", "brier_scaled", "ece_scaled")
TRUST = {"nll": ("NLL", "nats"), "brier": ("Brier score", "0 to 2"), "ece": ("ECE", "0 to 1")}
KINDS = ("attack", "corruption", "shift")
CLEAN, SAME_IMAGES = ConditionName("clean", "clean", 0.0), ConditionName("clean", "corrupted images", 0.0)


def measures(conditions: Sequence[ConditionName], values: Columns, dense: Array) -> dict[Measure, Array]:
    """Every measure of some networks, (networks,) each; NaN where it has no value.

    `values` and `dense`, the accuracies of each network's dense network, are (networks, conditions).
    """
    accuracy = values["accuracy"]
    found = {
        measure: np.mean([accuracy[:, at].mean(axis=1) for at in parts], axis=0)
        for measure, parts in accuracies(conditions).items()
    }
    for kind in (_corruption_errors, _gaps, _norms, _trust):
        found |= kind(conditions, values, dense)
    return found


def accuracies(conditions: Sequence[ConditionName]) -> dict[Measure, list[Indices]]:
    """The measures that are means of accuracies: of which conditions, by their places; the mean of means over parts."""
    found = {CLEAN_ACCURACY: [[conditions.index(CLEAN)]]}
    corrupted = _named(conditions, "corruption")
    main = {name: at for name, at in corrupted.items() if name in MAIN_CORRUPTIONS}
    extra = {name: at for name, at in corrupted.items() if name not in main}
    for words, some in ((CORRUPTED, main), ("accuracy, extra corruptions", extra)):
        found |= {percent(words): list(some.values())} if some else {}
    found |= {percent(CORRUPTED, name): [at] for name, at in corrupted.items()}
    found |= {percent(SHIFTED, name): [at] for name, at in _named(conditions, "shift").items()}
    # transferred examples are the dense network's own: on itself they are no transfer, and there is no difference
    attacks = _named(conditions, "attack")
    found |= {percent(ATTACKED): [[one for at in attacks.values() for one in at]]} if attacks else {}
    levels = ((name, place) for name, at in attacks.items() for place in at)
    return found | {percent(ATTACKED, name, conditions[place].level): [[place]] for name, place in levels}


def count_alike(parts: Sequence[Indices]) -> bool:
    """Whether all conditions of a measure have one weight, so that its answers have a plain mean."""
    return len({len(at) for at in parts}) == 1


def endpoint(measure: Measure) -> str | None:
    """The name of a measure in `statistics.primary`; None for one that can't be primary."""
    fixed = {CLEAN_ACCURACY: "clean", percent(CORRUPTED): "corruption", CO2: "co2"}
    if measure in fixed or measure.name is None:
        return fixed.get(measure)
    return {ATTACKED: f"{measure.name} {measure.level or 0:g}", SHIFTED: f"shift {measure.name}"}.get(measure.measure)


def percent(measure: str, name: str | None = None, level: float | None = None, better: Better = "higher") -> Measure:
    return Measure(measure, name, level, "%", better)


def _named(conditions: Sequence[ConditionName], kind: str) -> dict[str, Indices]:
    """Where each name of a kind stands, at all its levels; epsilon 0 is no attack."""
    places: dict[str, Indices] = defaultdict(list)
    for place, one in enumerate(conditions):
        if one.kind == kind and (kind != "attack" or one.level > 0):
            places[one.name].append(place)
    return dict(places)


def _corruption_errors(conditions: Sequence[ConditionName], values: Columns, dense: Array) -> Measured:
    """Errors relative to the dense network's."""
    main = {name: at for name, at in _named(conditions, "corruption").items() if name in MAIN_CORRUPTIONS}
    if main:
        clean = conditions.index(SAME_IMAGES if SAME_IMAGES in conditions else CLEAN)
        errors, theirs = 100 - values["accuracy"], 100 - dense
        absolute = [_ratio(errors[:, at].sum(axis=1), theirs[:, at].sum(axis=1)) for at in main.values()]
        yield percent("mCE", better="lower"), _mean(absolute)
        rises, others = errors - errors[:, [clean]], theirs - theirs[:, [clean]]
        relative = [_ratio(rises[:, at].sum(axis=1), others[:, at].sum(axis=1)) for at in main.values()]
        yield percent("relative mCE", better="lower"), _mean(relative)


def _ratio(ours: Array, theirs: Array) -> Array:
    """Percent; a corruption under which the dense network makes no (more) errors has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(theirs > 0, 100 * ours / theirs, np.nan)


def _mean(parts: Sequence[Array]) -> Array:
    """Of those that have a value; NaN where none has."""
    table = np.array(parts)
    known = ~np.isnan(table)
    counts = known.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, table, 0).sum(axis=0) / counts)


def _gaps(conditions: Sequence[ConditionName], values: Columns, dense: Array) -> Measured:
    accuracy, clean = values["accuracy"], conditions.index(CLEAN)
    for name, (place,) in _named(conditions, "shift").items():
        yield Measure("gap to clean", name, None, "pp", "lower"), accuracy[:, clean] - accuracy[:, place]


def _norms(conditions: Sequence[ConditionName], values: Columns, dense: Array) -> Measured:
    for name, (place,) in _named(conditions, "minimum_norm").items():
        yield Measure("median minimum norm", name, None, "1/255", "higher"), values["norm"][:, place]


def _trust(conditions: Sequence[ConditionName], values: Columns, dense: Array) -> Measured:
    corrupted = [at for name, at in _named(conditions, "corruption").items() if name in MAIN_CORRUPTIONS]
    sets = {"clean": [conditions.index(CLEAN)]} | _named(conditions, "shift")
    sets |= {"corruptions": [one for at in corrupted for one in at]} if corrupted else {}
    for column, (words, unit) in TRUST.items():
        for suffix, ending in (("", ""), ("_scaled", ", scaled")):
            for name, at in sets.items():
                measure = Measure(words + ending, name, None, unit, "lower")
                yield measure, values[column + suffix][:, at].mean(axis=1)


def differences(conditions: Sequence[ConditionName], deltas: Array) -> dict[str, Array]:
    """For each kind of condition the sum of all differences in accuracy, and their number, (networks,) each.

    Extra corruptions count only where there is no other.
    """
    found: dict[str, Array] = {}
    for kind in KINDS:
        named = _named(conditions, kind)
        main = {name: at for name, at in named.items() if kind != "corruption" or name not in EXTRA_CORRUPTIONS}
        at = np.array(sorted(place for places in (main or named).values() for place in places), dtype=np.intp)
        found |= {
            f"{kind}_sum": np.take(deltas, at, axis=1).sum(axis=1),
            f"{kind}_count": np.full(len(deltas), len(at)),
        }
    return found


DETECTED: dict[str, tuple[str, Better]] = {"auroc": ("AUROC", "higher"), "fpr95": ("FPR at 95 % TPR", "lower")}


def detected(sets: Sequence[tuple[str, str]], values: Columns) -> dict[Measure, Array]:
    """The measures of telling outliers apart: `sets` are (outliers, score), `values` (networks, sets)."""
    return {
        Measure(words, f"{outliers}, {score}", None, "0 to 1", better): values[column][:, place]
        for column, (words, better) in DETECTED.items()
        for place, (outliers, score) in enumerate(sets)
    }
