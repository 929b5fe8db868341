"""Every network beside the dense network of its family: what its architecture costs, and how it differs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa

from layerlottery import paths
from layerlottery.config.countries import carbon_intensity
from layerlottery.config.results import EnergySettings
from layerlottery.config.studies import Run
from layerlottery.errors import LayerLotteryError
from layerlottery.store.schemas import IDENTITY
from layerlottery.tables.collect import CONDITION
from layerlottery.tables.measures import DETECTED, VALUES
from layerlottery.tables.same import Firsts
from layerlottery.tables.statistics import saved
from layerlottery.tables.totals import Totals

log = logging.getLogger(__name__)

FAMILY = ["dataset", "network", "seed"]
ARCHITECTURE = [*FAMILY, "architecture"]
OUTLIERS = ["outliers", "score"]
# columns of the table runs that statistics are made from, and what they are paired by
KEPT = [
    *(column.name for column in IDENTITY),
    *("place", "architecture", "removed_blocks", "accuracy", "epochs", "train_seconds", "energy_kwh", "power_source"),
    *("criterion_settings", "config_hash", "classes", "precision"),
]
SAVINGS = {"macs": "macs", "params": "params", "memory": "memory_bytes", "energy": "energy_kwh"}


class Pairing:
    """Remembers the rows of dense networks, which come before their tickets. `runs` are all networks by place.

    With `unprofiled` a benchmark that has not ended may lack profiles; networks then have no costs.
    """

    def __init__(self, results: Path, runs: Sequence[Run], energy: EnergySettings, *, unprofiled: bool = False) -> None:
        self._results, self._runs, self._unprofiled = results, runs, unprofiled
        self._intensity = energy.carbon_intensity
        if self._intensity is None:
            self._intensity = carbon_intensity(energy.country)
        self._known: dict[str, pd.DataFrame] = {}
        self._totals = Totals()
        self._firsts = Firsts(runs)

    def networks(self, runs: pa.Table, costs: pa.Table) -> pd.DataFrame:
        """The columns of each network that statistics need, with its costs and differences.

        Raises LayerLotteryError if a profile lacks an architecture.
        """
        self._remember("costs", costs.to_pandas(), ARCHITECTURE)
        rows = runs.select(KEPT).to_pandas().merge(self._known["costs"], how="left", on=ARCHITECTURE)
        if (lacking := rows["macs"].isna()).any() and not self._unprofiled:
            run = self._runs[rows["place"][lacking].iloc[0]]
            known = (self._known["costs"][FAMILY] == [run.dataset, run.network, run.seed]).all(axis=1).sum()
            path = paths.profile(f"{self._results}/{run.dense.folder}")
            raise LayerLotteryError(f"{path}: the architecture of {run.folder} is not among its {known}")
        columns = ["place", "accuracy", "epochs", "train_seconds", "latency_ms", *SAVINGS.values()]
        dense = self._beside("runs", rows, [], columns)
        total = self._totals.of(rows, dense)
        return rows.join(total).assign(
            same_as=self._firsts.of(rows),
            dense=dense["place"],
            dense_accuracy=dense["accuracy"],
            delta_accuracy=rows["accuracy"] - dense["accuracy"],
            train_speedup=dense["train_seconds"] / rows["train_seconds"],
            total_speedup=dense["train_seconds"] / total["total_seconds"],
            latency_speedup=dense["latency_ms"] / rows["latency_ms"],
            carbon_intensity=self._intensity,
            co2_kg=rows["energy_kwh"] * self._intensity,
            total_co2_kg=total["total_kwh"] * self._intensity,
            **{f"{name}_reduction": saved(rows[column], dense[column]) for name, column in SAVINGS.items()},
        )

    def conditions(self, robustness: pa.Table) -> pd.DataFrame:
        """Measurements under each condition; raises LayerLotteryError if the dense network was not tested so."""
        rows = robustness.select(["place", "removed", *FAMILY, *CONDITION, *VALUES, "images"]).to_pandas()
        dense = self._beside("conditions", rows, CONDITION, ["accuracy"])["accuracy"]
        if dense.isna().any():
            place, *condition = next(rows.loc[dense.isna(), ["place", *CONDITION]].itertuples(index=False, name=None))
            folder = f"{self._results}/{self._runs[place].folder}"
            raise LayerLotteryError(f"{folder}: tested under {tuple(condition)}, its dense network was not")
        return rows.assign(dense_accuracy=dense, delta_accuracy=rows["accuracy"] - dense)

    def outliers(self, detection: pa.Table) -> pd.DataFrame:
        """How outliers were told apart; a set that the dense network lacks has no difference."""
        rows = detection.select(["place", "removed", *FAMILY, *OUTLIERS, *DETECTED]).to_pandas()
        dense = self._beside("outliers", rows, OUTLIERS, ["auroc"])["auroc"]
        return rows.assign(dense_auroc=dense, delta_auroc=rows["auroc"] - dense)

    def _beside(self, name: str, rows: pd.DataFrame, keys: list[str], columns: list[str]) -> pd.DataFrame:
        """The columns of each row's dense network, where `keys` agree; NaN where it has no such row."""
        by = [*FAMILY, *keys]
        self._remember(name, rows.loc[rows["removed"] == 0, [*by, *columns]], by)
        return rows[by].merge(self._known[name], how="left", on=by)[columns]

    def _remember(self, name: str, rows: pd.DataFrame, by: list[str]) -> None:
        known = [self._known[name], rows] if name in self._known else [rows]
        self._known[name] = pd.concat(known).drop_duplicates(by, keep="last")


def tell_of_types(networks: pd.DataFrame) -> None:
    """Warn of tickets that were trained in another type than their dense network: `auto` differs between machines."""
    beside = networks["dense"].map(networks.set_index("place")["precision"])
    other = beside.notna() & networks["precision"].notna() & (networks["precision"] != beside)
    if other.any():
        pairs = (networks["precision"] + " beside " + beside)[other].value_counts()
        log.warning(
            "training.precision: %d of %d tickets were trained in another type than their dense network (%s); "
            "to train all alike, set it to one that is not auto",
            other.sum(),
            (networks["removed"] > 0).sum(),
            ", ".join(f"{words}: {count}" for words, count in pairs.items()),
        )
