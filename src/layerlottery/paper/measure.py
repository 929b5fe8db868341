"""Measurements: from the result tables to one value per seed, its mean and interval, and its control."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

from layerlottery.config.criteria import CRITERIA
from layerlottery.config.evaluation import EXTRA_CORRUPTIONS
from layerlottery.cost.carbon import measured
from layerlottery.errors import LayerLotteryError
from layerlottery.tables.measures import CLEAN_ACCURACY, CORRUPTED, SHIFTED
from layerlottery.tables.statistics import ROUNDING, Estimate, average, estimate, geometric_mean, seed_means

Row = dict[str, Any]
PerSeed = dict[int, float]
CIFAR_10_2 = "cifar102"
SCORING = ("dataset", "network", "criterion", "scored_at")


class TicketKey(NamedTuple):
    """The identity of a ticket, seeds and draws aside; the names are those of the tables' columns."""

    dataset: str
    network: str
    structure: str
    criterion: str
    scored_at: str
    removed: int
    rewind: str
    step: int = 0  # what goes in each round; 0 where all goes at once


Item = TypeVar("Item")
Key = TypeVar("Key")


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Items by key, in the order of first appearance."""
    found: dict[Key, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def ticket_of(row: Any) -> TicketKey:
    """The ticket of a table's row, or of a Run."""
    values = row if isinstance(row, dict) else vars(row)
    return TicketKey(*(values[name] for name in TicketKey._fields))


@dataclass(frozen=True)
class Quantity:
    """A compared quantity, and its column; more of it is better. `margin` is a key of MarginSettings."""

    label: str
    unit: str
    margin: str
    column: str = "delta_accuracy"
    kind: str | None = None  # of the table robustness; None: the table runs
    name: str | None = None  # of the condition; None: all of the kind
    ratio: bool = False  # averaged as a factor
    exact: bool = False  # counted, so one seed is enough

    @property
    def measure(self) -> str | None:
        """The measure of the table resilience that infers it; None where there is no such."""
        if self.kind is None:
            return CLEAN_ACCURACY.measure if self.column == "delta_accuracy" else None
        return {"corruption": CORRUPTED, "shift": SHIFTED}[self.kind]


QUANTITIES = {
    "accuracy": Quantity("Δ accuracy", "pp", "accuracy"),
    "flops": Quantity("FLOPs saved", "%", "flops", "macs_reduction", exact=True),
    "memory": Quantity("memory saved", "%", "memory", "memory_reduction"),
    "co2": Quantity("CO2 saved", "%", "co2", "energy_reduction"),
    "speedup": Quantity("training speed-up", "factor", "speedup", "train_speedup", ratio=True),
    "cifar10c": Quantity("CIFAR-10-C", "pp", "robustness", kind="corruption"),
    "cifar10.2": Quantity("CIFAR-10.2", "pp", "robustness", kind="shift", name=CIFAR_10_2),
}


def plain(name: str) -> str:
    """A name without case and punctuation: CIFAR-10.2, cifar10.2 and cifar10_2 are one set."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


@dataclass(frozen=True)
class Results:
    """The rows of the result tables that the paper's tables are made from."""

    runs: Sequence[Row]
    robustness: Sequence[Row] = ()
    scores: Sequence[Row] = ()
    similarity: Sequence[Row] = ()
    summary: Sequence[Row] = ()
    comparisons: Sequence[Row] = ()
    resilience: Sequence[Row] = ()

    @cached_property
    def networks(self) -> dict[TicketKey, list[Row]]:
        """Trained networks by ticket, dense ones left out."""
        return _by_ticket(self.runs)

    @cached_property
    def conditions(self) -> dict[TicketKey, list[Row]]:
        """Rows of robustness by ticket."""
        return _by_ticket(self.robustness)

    def l1_scores(self, *more: str) -> dict[tuple[str, ...], list[Row]]:
        """Rows of scores by l1, of removable blocks, by SCORING and further columns."""
        rows = (one for one in self.scores if one["structure"] == "layers" and one["removable"])
        scored = (one for one in rows if self.formula(one["criterion"]) == "l1")
        return grouped(scored, lambda one: tuple(one[name] for name in (*SCORING, *more)))

    @cached_property
    def outcomes(self) -> dict[tuple[TicketKey, str], str]:
        """Outcome of each ticket's comparison with a control."""
        return {(ticket_of(row), row["control"]): row["outcome"] for row in self.comparisons}

    @cached_property
    def _inferred(self) -> dict[tuple[TicketKey, str, str], Estimate]:
        return {
            (ticket_of(row), row["measure"], plain(row["name"] or "")): Estimate(
                row["difference"], row["sd"], row["low"], row["high"]
            )
            for row in self.resilience
        }

    def inferred(self, ticket: TicketKey, quantity: Quantity) -> Estimate | None:
        """What the table resilience infers of a difference in accuracy, for other seeds and images."""
        return self._inferred.get((ticket, quantity.measure or "", quantity.name or ""))

    def power_measured(self, ticket: TicketKey) -> bool:
        """Whether the power of all these trainings, and of their dense networks, was read from a meter."""
        return all(measured(row["power_source"]) for row in (*self.networks[ticket], *self._dense(ticket)))

    def _dense(self, ticket: TicketKey) -> list[Row]:
        return [row for row in self.runs if not row["removed"] and (row["dataset"], row["network"]) == ticket[:2]]

    @cached_property
    def penultimate(self) -> dict[TicketKey, PerSeed]:
        """CKA of the penultimate features of ticket and dense network, one value a seed."""
        rows = _by_ticket(one for one in self.similarity if one["layer"] == "penultimate")
        return {ticket: averaged(own, "cka") for ticket, own in rows.items()}

    @cached_property
    def _recorded(self) -> dict[str, Row]:
        texts = {row["criterion"]: row["criterion_settings"] for row in self.runs if row["criterion_settings"]}
        try:
            return {name: dict(json.loads(text)) for name, text in texts.items()}
        except (ValueError, TypeError, RecursionError):
            raise LayerLotteryError("runs.parquet: column criterion_settings: found no JSON object") from None

    def criterion(self, name: str) -> Row:
        """The settings of a criterion: as recorded, else the built-in ones, else none."""
        if name in self._recorded:
            return self._recorded[name]
        return CRITERIA[name].model_dump() if name in CRITERIA else {}

    def formula(self, criterion: str) -> str:
        """The function behind a criterion's name."""
        return str(self.criterion(criterion).get("function", criterion))

    def per_seed(self, ticket: TicketKey, quantity: Quantity) -> PerSeed:
        """One value a seed; empty where nothing was measured."""
        return averaged(self._values(ticket, quantity), quantity.column, ratio=quantity.ratio)

    def random_removal(self, ticket: TicketKey, quantity: Quantity) -> PerSeed:
        """The control: the same for random removal of as many blocks from the same start; empty for random itself."""
        if self.formula(ticket.criterion) == "random":
            return {}
        drawn = (other for other in self.networks if self.formula(other.criterion) == "random")
        same = [other for other in drawn if _unscored(other) == _unscored(ticket)]
        # what is drawn at random looks at no weights, so one that was drawn for other weights serves as well
        same = [other for other in same if other.scored_at == ticket.scored_at] or same
        rows = [row for other in same for row in self._values(other, quantity)]
        return averaged(rows, quantity.column, ratio=quantity.ratio)

    def _values(self, ticket: TicketKey, quantity: Quantity) -> list[Row]:
        if quantity.kind is None:
            return self.networks.get(ticket, [])
        return [row for row in self.conditions.get(ticket, []) if _fits(row, quantity)]


def _unscored(ticket: TicketKey) -> TicketKey:
    return ticket._replace(criterion="", scored_at="")


def _by_ticket(rows: Iterable[Row]) -> dict[TicketKey, list[Row]]:
    return grouped((row for row in rows if row["removed"]), ticket_of)


def _fits(row: Row, quantity: Quantity) -> bool:
    """The extra corruptions of CIFAR-10-C are in no mean, here as in the papers."""
    if row["kind"] == "corruption" and row["name"] in EXTRA_CORRUPTIONS:
        return False
    return row["kind"] == quantity.kind and quantity.name in (None, plain(row["name"]))


def averaged(rows: Iterable[Row], column: str, *, ratio: bool = False) -> PerSeed:
    """A column's mean over the draws (and conditions) of each seed; ratios have a geometric mean."""
    held = ((row["seed"], row[column]) for row in rows if row[column] is not None and not math.isnan(row[column]))
    return seed_means(held, geometric_mean if ratio else average)


def over_seeds(values: Mapping[int, float], *, confidence: float, ratio: bool = False, exact: bool = False) -> Estimate:
    """Mean over seeds and its t interval, for ratios on the logarithmic scale; an exact count has no width."""
    sample = list(values.values())
    if exact and max(sample) - min(sample) < ROUNDING:
        return Estimate(sample[0], 0.0, sample[0], sample[0])
    if not ratio:
        return estimate(sample, confidence=confidence)
    logs = estimate([math.log(value) for value in sample], confidence=confidence)
    low, high = (None if end is None else math.exp(end) for end in (logs.low, logs.high))
    return Estimate(math.exp(logs.mean), None, low, high)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> PerSeed:
    """Differences of the seeds that both have."""
    return {seed: first[seed] - second[seed] for seed in first if seed in second}


def mean_of(samples: Sequence[Mapping[int, float]]) -> PerSeed:
    """Mean of several samples seed by seed, over the seeds that all of them have."""
    seeds = set.intersection(*(set(sample) for sample in samples)) if samples else set()
    return {seed: fmean(sample[seed] for sample in samples) for seed in sorted(seeds)}
