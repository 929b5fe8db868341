"""The row of one trained network, and how it differs from the dense network of its family."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from layerlottery import paths
from layerlottery.config.results import EnergySettings
from layerlottery.config.studies import Run
from layerlottery.cost.carbon import carbon_intensity, lacoste_co2
from layerlottery.errors import LayerLotteryError
from layerlottery.store.hashing import canonical, digest
from layerlottery.tables.collect import Batch, Facts, Network
from layerlottery.tables.conditions import Array, Conditions, Places
from layerlottery.tables.statistics import saved
from layerlottery.tables.summary import KINDS

Row = dict[str, Any]

# columns of the table runs that statistics are made from
KEPT = (
    *vars(Run("", "", 0)),
    "accuracy",
    "delta_accuracy",
    "params",
    "latency_ms",
    "train_speedup",
    "macs_reduction",
    "memory_reduction",
    "energy_reduction",
    "criterion_settings",
)


@dataclass
class _Family:
    """A dense network's profile with the costs of each architecture, its row, and its accuracy under each condition."""

    profile: Facts
    costs: dict[str, Row]
    accuracy: dict[int, float]
    row: Row = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A network beside its dense one: its row of the table runs, and both accuracies under its conditions."""

    row: Row
    places: Places
    accuracy: Array
    dense: Array

    @property
    def deltas(self) -> Array:
        """Accuracy minus that of the dense network, percentage points."""
        return self.accuracy - self.dense


class Pairing:
    """Pairs networks with their dense ones; a dense network comes before its tickets."""

    def __init__(self, results: Path, energy: EnergySettings, conditions: Conditions) -> None:
        self._results, self._energy, self._conditions = results, energy, conditions
        self._intensity = energy.carbon_intensity
        if self._intensity is None:
            self._intensity = carbon_intensity(energy.country)
        self._families: dict[Run, _Family] = {}

    def pair(self, batch: Batch) -> list[Pair]:
        """Raises LayerLotteryError if the profile lacks an architecture, or a dense network a condition."""
        table = batch.tables["robustness"]
        places, accuracy = self._conditions.places(table), table["accuracy"].to_numpy()
        ends = pairwise(accumulate(batch.rows["robustness"], initial=0))
        return [
            self._pair(network, places[start:end], accuracy[start:end])
            for network, (start, end) in zip(batch.networks, ends, strict=True)
        ]

    def _pair(self, network: Network, places: Places, accuracy: Array) -> Pair:
        run = network.run
        if network.profile is not None:
            costs = {one["architecture"]: one for one in network.profile["architectures"]}
            known = dict(zip(places.tolist(), accuracy.tolist(), strict=True))
            self._families[run] = _Family(network.profile, costs, known)
        family = self._families[run.dense]
        row = self._row(network, family)
        if network.profile is not None:
            family.row = row
        row |= _differences(row, family.row)
        return Pair(row, places, accuracy, self._dense_accuracy(run, places, family))

    def kept(self, pairs: Sequence[Pair]) -> Iterator[Row]:
        """What statistics need: some columns, and the differences under all conditions of each kind."""
        for pair in pairs:
            chosen = self._conditions.of_kinds(pair.places)
            yield {name: pair.row[name] for name in KEPT} | {kind: pair.deltas[chosen[kind]] for kind in KINDS}

    def _row(self, network: Network, family: _Family) -> Row:
        training = network.training
        return (
            vars(network.run)
            | self._cost_and_choice(network, family)
            | {name: value for name, value in training.items() if name != "segments"}
            | {"training_settings": _text(training.get("training_settings"))}
            | network.clean
            | self._used(training["segments"])
            | _where_and_when(training["segments"])
        )

    def _cost_and_choice(self, network: Network, family: _Family) -> Row:
        """What was removed, and what the architecture that is left costs."""
        chosen: Row = {"removed_blocks": [], "ties": 0, "budget": None, "criterion_settings": None}
        profile, ticket = family.profile, network.ticket
        architecture = profile["dense"]
        if ticket is not None:
            chosen = {
                "removed_blocks": ticket["removed_blocks"],
                "ties": ticket["tied"],
                "budget": ticket["budget"],
                "criterion_settings": _text(ticket["criterion_settings"]),
            }
            architecture = digest(ticket["architecture"])
        if architecture not in family.costs:
            path = paths.profile(f"{self._results}/{network.run.dense.folder}")
            count = len(family.costs)
            raise LayerLotteryError(f"{path}: the architecture of {network.run.folder} is not among its {count}")
        latency = {name: profile[name] for name in ("latency_batch", "latency_threads")}
        return chosen | family.costs[architecture] | latency

    def _used(self, segments: Sequence[Row]) -> Row:
        used = {part: sum(segment[part] for segment in segments) for part in ("kwh", "cpu_kwh", "gpu_kwh", "ram_kwh")}
        lacoste = self._energy.lacoste_intensity
        energy_kwh = used.pop("kwh")
        return used | {
            "energy_kwh": energy_kwh,
            "co2_kg": energy_kwh * self._intensity,
            "carbon_intensity": self._intensity,
            "co2_lacoste_kg": sum(lacoste_co2(one["design_watts"], one["seconds"], lacoste) for one in segments),
            "power_source": segments[-1]["power_source"],
            "segments": len(segments),
        }

    def _dense_accuracy(self, run: Run, places: Places, family: _Family) -> Array:
        try:
            return np.array([family.accuracy[place] for place in places.tolist()])
        except KeyError as missing:
            condition, place = tuple(self._conditions.keys[missing.args[0]]), f"{self._results}/{run.folder}"
            raise LayerLotteryError(f"{place}: tested under {condition}, its dense network was not") from None


def _text(settings: Facts | None) -> str | None:
    return None if settings is None else canonical(settings)


def _where_and_when(segments: Sequence[Row]) -> Row:
    def joined(name: str) -> str | None:
        return ", ".join(dict.fromkeys(one[name] for one in segments if one.get(name))) or None

    when = {"started": segments[0].get("started"), "ended": segments[-1].get("ended")}
    return when | {name: joined(name) for name in ("host", "slurm_job_id")}


def _differences(row: Row, dense: Row) -> Row:
    saving = {"macs": "macs", "memory": "memory_bytes", "energy": "energy_kwh"}
    return {
        "dense_accuracy": dense["accuracy"],
        "delta_accuracy": row["accuracy"] - dense["accuracy"],
        "train_speedup": dense["train_seconds"] / row["train_seconds"],
    } | {f"{name}_reduction": saved(row[column], dense[column]) for name, column in saving.items()}
