"""The stage `aggregate`: every network's artifacts into Parquet tables. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from layerlottery import paths
from layerlottery.cost.carbon import carbon_intensity, lacoste_co2
from layerlottery.errors import LayerLotteryError
from layerlottery.results.artifacts import read_facts, read_table, write_table
from layerlottery.results.comparisons import comparison_rows
from layerlottery.results.hashing import canonical, digest
from layerlottery.results.provenance import config_hash
from layerlottery.results.schemas import arrow_schema
from layerlottery.results.stability import stability_rows
from layerlottery.results.statistics import saved
from layerlottery.results.summary import summary_rows
from layerlottery.settings import EnergySettings
from layerlottery.studies import AggregateSettings, Run, expand, expand_scorings

Row = dict[str, Any]


def aggregate(results: Path, settings: AggregateSettings) -> dict[str, int]:
    """Write the tables of all networks that the studies ask for; returns the number of rows of each."""
    runs = expand(settings.studies)
    tables = {
        "runs": run_rows(results, runs, settings.energy),
        "robustness": robustness_rows(results, runs),
        "curves": curve_rows(results, runs),
        "scores": score_rows(results, expand_scorings(settings.studies)),
        "similarity": similarity_rows(results, runs),
    }
    tables["summary"] = summary_rows(tables["runs"], tables["robustness"], settings.statistics)
    tables["comparisons"] = comparison_rows(tables["runs"], settings.statistics)
    tables["stability"] = stability_rows(tables["scores"])
    for name, rows in tables.items():
        made_by = config_hash("aggregate", settings, sorted({row.get("config_hash", "") for row in rows}))
        table = pa.Table.from_pylist(rows, schema=arrow_schema(name))
        write_table(Path(paths.table(str(results / "tables"), name)), table, config_hash=made_by)
    return {name: len(rows) for name, rows in tables.items()}


def run_rows(results: Path, runs: Iterable[Run], energy: EnergySettings) -> list[Row]:
    """One row per trained network, paired with its dense network."""
    runs = list(runs)
    intensity = energy.carbon_intensity
    if intensity is None:
        intensity = carbon_intensity(energy.country)
    profiles = {run.dense: read_facts(_file(results, run.dense.folder, paths.profile)) for run in runs}
    rows = {run: _run_row(results, run, profiles[run.dense], energy, intensity) for run in runs}
    for run, row in rows.items():
        dense = rows[run.dense]
        row["dense_accuracy"] = dense["accuracy"]
        row["delta_accuracy"] = row["accuracy"] - dense["accuracy"]
        row["train_speedup"] = dense["train_seconds"] / row["train_seconds"]
        for saving, column in (("macs", "macs"), ("memory", "memory_bytes"), ("energy", "energy_kwh")):
            row[f"{saving}_reduction"] = saved(row[column], dense[column])
    return list(rows.values())


def _file(results: Path, folder: str, name: Callable[[str], str]) -> Path:
    return Path(name(f"{results}/{folder}"))


def _run_row(results: Path, run: Run, profile: Row, energy: EnergySettings, intensity: float) -> Row:
    training = read_facts(_file(results, run.folder, paths.training_facts))
    clean = next(row for row in _conditions(results, run) if row["kind"] == "clean")
    return (
        asdict(run)
        | _cost_and_choice(results, run, profile)
        | {name: value for name, value in training.items() if name != "segments"}
        | {name: clean[name] for name in ("accuracy", "nll", "brier", "ece")}
        | _energy(training["segments"], energy, intensity)
    )


def _cost_and_choice(results: Path, run: Run, profile: Row) -> Row:
    """What was removed, and what the architecture that is left costs."""
    chosen: Row = {"removed": [], "ties": 0, "budget": None, "criterion_settings": None}
    architecture = profile["dense"]
    if run.density:
        ticket = read_facts(_file(results, run.folder, paths.ticket_facts))
        chosen = {
            "removed": ticket["removed"],
            "ties": ticket["tied"],
            "budget": ticket["budget"],
            "criterion_settings": canonical(ticket["criterion_settings"]),
        }
        architecture = digest(ticket["architecture"])
    costs: dict[str, Row] = {one["architecture"]: one for one in profile["architectures"]}
    if architecture not in costs:
        path = _file(results, run.dense.folder, paths.profile)
        raise LayerLotteryError(f"{path}: the architecture of {run.folder} is not among its {len(costs)}")
    return chosen | costs[architecture] | {name: profile[name] for name in ("latency_batch", "latency_threads")}


def _energy(segments: list[Row], energy: EnergySettings, intensity: float) -> Row:
    used = {part: sum(segment[part] for segment in segments) for part in ("kwh", "cpu_kwh", "gpu_kwh", "ram_kwh")}
    lacoste = sum(
        lacoste_co2(segment["design_watts"], segment["seconds"], energy.lacoste_intensity) for segment in segments
    )
    energy_kwh = used.pop("kwh")
    return used | {
        "energy_kwh": energy_kwh,
        "co2_kg": energy_kwh * intensity,
        "carbon_intensity": intensity,
        "co2_lacoste_kg": lacoste,
        "power_source": segments[-1]["power_source"],
        "segments": len(segments),
    }


def _made_rows(results: Path, run: Run, path: Callable[[str], str]) -> list[Row]:
    """The rows of one of the run's tables, with the hash of what made them."""
    table = read_table(_file(results, run.folder, path))
    made_by = table.schema.metadata[b"config_hash"].decode()
    return [row | {"config_hash": made_by} for row in table.to_pylist()]


def _conditions(results: Path, run: Run) -> list[Row]:
    return [row for path in (paths.shift, paths.attack) for row in _made_rows(results, run, path)]


def robustness_rows(results: Path, runs: Iterable[Run]) -> list[Row]:
    """One row per network and condition, paired with the dense network's."""
    runs = list(runs)
    rows = {
        (run, row["kind"], row["name"], row["level"]): asdict(run) | row
        for run in runs
        for row in _conditions(results, run)
    }
    for (run, *condition), row in rows.items():
        row["dense_accuracy"] = rows[(run.dense, *condition)]["accuracy"]
        row["delta_accuracy"] = row["accuracy"] - row["dense_accuracy"]
    return list(rows.values())


def curve_rows(results: Path, runs: Iterable[Run]) -> list[Row]:
    """One row per network and epoch."""
    return [
        asdict(run) | row for run in runs for row in read_table(_file(results, run.folder, paths.curve)).to_pylist()
    ]


def similarity_rows(results: Path, runs: Iterable[Run]) -> list[Row]:
    """One row per ticket and layer whose features were compared with the dense network's."""
    return [asdict(run) | row for run in runs if run.density for row in _made_rows(results, run, paths.similarity)]


def score_rows(results: Path, scorings: Iterable[Run]) -> list[Row]:
    """One row per scored network, criterion, draw and block; rank 1 goes first. Filters and weights have no blocks.

    Each row also names the criterion's `function`, which is no column.
    """
    rows: list[Row] = []
    for scoring in scorings:
        if scoring.structure != "layers":
            continue
        facts = read_facts(_file(results, scoring.scored, paths.scores))
        ranked = sorted((block for block in facts["blocks"] if block["removable"]), key=lambda block: block["score"])
        ranks = {block["name"]: number for number, block in enumerate(ranked, start=1)}
        for block in facts["blocks"]:
            name = block["name"]
            named = {"block": name, "rank": ranks.get(name), "function": facts["settings"]["function"]}
            rows.append(asdict(scoring) | block | named)
    return rows
