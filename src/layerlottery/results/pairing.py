"""The row of one trained network, and how it differs from the dense network of its family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from layerlottery import paths
from layerlottery.cost.carbon import carbon_intensity, lacoste_co2
from layerlottery.errors import LayerLotteryError
from layerlottery.results.collect import Facts, Network
from layerlottery.results.hashing import canonical, digest
from layerlottery.results.statistics import saved
from layerlottery.results.summary import KINDS
from layerlottery.settings import EnergySettings
from layerlottery.studies import Run

Row = dict[str, Any]
Condition = tuple[str, str, float]  # kind, name, level
Array = npt.NDArray[np.float64]

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
    """A dense network's profile with the costs of each architecture, its row, and its accuracies."""

    profile: Facts
    costs: dict[str, Row]
    row: Row = field(default_factory=dict)
    accuracy: dict[Condition, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A network beside its dense one: its row of the table runs, and its accuracies under `conditions`."""

    run: Run
    row: Row
    conditions: list[pa.Table]
    dense_accuracy: list[float]
    delta_accuracy: list[float]
    deltas: dict[str, Array]

    def kept(self) -> Row:
        """What statistics need: some columns, and the differences of all conditions of each kind."""
        return {name: self.row[name] for name in KEPT} | self.deltas


class Pairing:
    """Pairs networks with their dense ones; a dense network comes before its tickets."""

    def __init__(self, results: Path, energy: EnergySettings) -> None:
        self._results, self._energy = results, energy
        self._intensity = energy.carbon_intensity
        if self._intensity is None:
            self._intensity = carbon_intensity(energy.country)
        self._families: dict[Run, _Family] = {}

    def pair(self, network: Network) -> Pair:
        """Raises LayerLotteryError if the profile lacks the architecture, or the dense network a condition."""
        run, tables = network.run, [_distinct(table) for table in network.conditions]
        accuracy = {condition: value for _, accuracies in tables for condition, value in accuracies.items()}
        if network.profile is not None:
            costs = {one["architecture"]: one for one in network.profile["architectures"]}
            self._families[run] = _Family(network.profile, costs, accuracy=accuracy)
        family = self._families[run.dense]
        row = self._row(network, family)
        if network.profile is not None:
            family.row = row
        row |= _differences(row, family.row)
        dense = self._dense_accuracy(run, accuracy, family)
        deltas = [value - other for value, other in zip(accuracy.values(), dense, strict=True)]
        kinds = {kind: _of_kind(kind, dict(zip(accuracy, deltas, strict=True))) for kind in KINDS}
        return Pair(run, row, [table for table, _ in tables], dense, deltas, kinds)

    def _row(self, network: Network, family: _Family) -> Row:
        training, shift = network.training, network.conditions[0]
        clean = shift["kind"].to_pylist().index("clean")
        return (
            vars(network.run)
            | self._cost_and_choice(network, family)
            | {name: value for name, value in training.items() if name != "segments"}
            | {"training_settings": _text(training.get("training_settings"))}
            | {name: shift[name][clean].as_py() for name in ("accuracy", "nll", "brier", "ece")}
            | self._used(training["segments"])
            | _where_and_when(training["segments"])
        )

    def _cost_and_choice(self, network: Network, family: _Family) -> Row:
        """What was removed, and what the architecture that is left costs."""
        chosen: Row = {"removed": [], "ties": 0, "budget": None, "criterion_settings": None}
        profile, ticket = family.profile, network.ticket
        architecture = profile["dense"]
        if ticket is not None:
            chosen = {
                "removed": ticket["removed"],
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

    def _dense_accuracy(self, run: Run, accuracy: dict[Condition, float], family: _Family) -> list[float]:
        try:
            return [family.accuracy[condition] for condition in accuracy]
        except KeyError as missing:
            (condition,) = missing.args
            place = f"{self._results}/{run.folder}"
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


def _distinct(table: pa.Table) -> tuple[pa.Table, dict[Condition, float]]:
    """A table and its accuracies. A condition that the configuration names twice is one."""
    conditions = list(zip(*(table[name].to_pylist() for name in ("kind", "name", "level")), strict=True))
    last = dict(zip(conditions, range(len(table)), strict=True))
    if len(last) < len(table):
        table = table.take(list(last.values()))
    return table, dict(zip(last, table["accuracy"].to_pylist(), strict=True))


def _of_kind(kind: str, deltas: dict[Condition, float]) -> Array:
    """Epsilon 0 is no attack; shifted sets have no level."""
    counted = [
        delta for (found, _, level), delta in deltas.items() if found == kind and (kind != "attack" or level > 0)
    ]
    return np.array(counted, dtype=np.float64)
