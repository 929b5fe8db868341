"""The stage `aggregate`: every network's artifacts into five Parquet tables. Imports no torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from layerlottery import paths
from layerlottery.cost.carbon import carbon_intensity, lacoste_co2
from layerlottery.results.artifacts import read_facts, read_table, write_table
from layerlottery.results.hashing import canonical
from layerlottery.results.provenance import config_hash
from layerlottery.results.schemas import TICKET, arrow_schema
from layerlottery.results.statistics import estimate, geometric_mean, saved, tolerance, verdict, within
from layerlottery.settings import EnergySettings
from layerlottery.studies import AggregateSettings, Run, expand

Row = dict[str, Any]


def aggregate(results: Path, settings: AggregateSettings) -> dict[str, int]:
    """Write the tables of all networks that the studies ask for; returns the number of rows of each."""
    runs = expand(settings.studies)
    tables = {
        "runs": run_rows(results, runs, settings.energy),
        "robustness": robustness_rows(results, runs),
        "curves": curve_rows(results, runs),
        "scores": score_rows(results, runs),
    }
    tables["summary"] = summary_rows(tables["runs"], tables["robustness"], settings)
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
    costs = {run.dense: _costs(results, run.dense) for run in runs}
    rows = {run: _run_row(results, run, costs[run.dense], energy, intensity) for run in runs}
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


def _costs(results: Path, dense: Run) -> dict[tuple[str, ...], Row]:
    facts = read_facts(_file(results, dense.folder, paths.profile))
    common = {name: facts[name] for name in ("latency_batch", "latency_threads")}
    return {tuple(one["removed"]): one | common for one in facts["architectures"]}


def _run_row(
    results: Path, run: Run, costs: dict[tuple[str, ...], Row], energy: EnergySettings, intensity: float
) -> Row:
    training = read_facts(_file(results, run.folder, paths.training_facts))
    ticket = read_facts(_file(results, run.folder, paths.ticket_facts)) if run.density else {"removed": []}
    settings = ticket.get("criterion_settings")
    clean = next(row for row in _conditions(results, run) if row["kind"] == "clean")
    segments = training["segments"]
    used = {part: sum(segment[part] for segment in segments) for part in ("kwh", "cpu_kwh", "gpu_kwh", "ram_kwh")}
    lacoste = sum(
        lacoste_co2(segment["design_watts"], segment["seconds"], energy.lacoste_intensity) for segment in segments
    )
    energy_kwh = used.pop("kwh")
    return (
        asdict(run)
        | used
        | costs[tuple(ticket["removed"])]
        | {name: value for name, value in training.items() if name != "segments"}
        | {name: clean[name] for name in ("accuracy", "nll", "brier", "ece")}
        | {
            "criterion_settings": None if settings is None else canonical(settings),
            "energy_kwh": energy_kwh,
            "co2_kg": energy_kwh * intensity,
            "carbon_intensity": intensity,
            "co2_lacoste_kg": lacoste,
            "power_source": segments[-1]["power_source"],
            "segments": len(segments),
        }
    )


def _conditions(results: Path, run: Run) -> list[Row]:
    found: list[Row] = []
    for path in (paths.shift, paths.attack):
        table = read_table(_file(results, run.folder, path))
        made_by = table.schema.metadata[b"config_hash"].decode()
        found += [row | {"config_hash": made_by} for row in table.to_pylist()]
    return found


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


def score_rows(results: Path, runs: Iterable[Run]) -> list[Row]:
    """One row per scored network, criterion and block; rank 1 goes first."""
    rows: list[Row] = []
    scored = {run.scored: run for run in runs if run.density}
    for folder, run in scored.items():
        blocks = read_facts(_file(results, folder, paths.scores))["blocks"]
        ranked = sorted((block for block in blocks if block["removable"]), key=lambda block: block["score"])
        ranks = {block["name"]: number for number, block in enumerate(ranked, start=1)}
        for block in blocks:
            name = block["name"]
            rows.append(asdict(run) | block | {"block": name, "rank": ranks.get(name)})
    return rows


def summary_rows(runs: Sequence[Row], robustness: Sequence[Row], settings: AggregateSettings) -> list[Row]:
    """One row per ticket, over its seeds, and tolerance ξ."""
    tickets, conditions = defaultdict(list), defaultdict(list)
    names = [column.name for column in TICKET]
    for row in runs:
        tickets[tuple(row[name] for name in names)].append(row)
    for row in robustness:
        conditions[tuple(row[name] for name in names)].append(row)
    dense = {ticket[:2]: rows for ticket, rows in tickets.items() if rows[0]["density"] == 0}
    summary = []
    for ticket, rows in tickets.items():
        if rows[0]["density"] == 0:
            continue
        common = dict(zip(names, ticket, strict=True)) | _means(rows, conditions[ticket], settings, dense[ticket[:2]])
        summary += [common | row for row in _verdicts(rows, dense[ticket[:2]], settings)]
    return summary


def _verdicts(rows: Sequence[Row], dense: Sequence[Row], settings: AggregateSettings) -> list[Row]:
    deltas = [row["delta_accuracy"] for row in rows]
    delta = estimate(deltas, confidence=settings.statistics.confidence)
    found = []
    for xi in settings.statistics.xi:
        points = tolerance(xi, [row["accuracy"] for row in dense])
        won = None if points is None else sum(within(value, points) for value in deltas)
        label = xi if isinstance(xi, str) else f"{xi:g}"
        found.append({"xi": label, "xi_points": points, "won": won, "verdict": verdict(delta, points)})
    return found


def _means(rows: Sequence[Row], conditions: Sequence[Row], settings: AggregateSettings, dense: Sequence[Row]) -> Row:
    confidence = settings.statistics.confidence
    accuracy = estimate([row["accuracy"] for row in rows], confidence=confidence)
    delta = estimate([row["delta_accuracy"] for row in rows], confidence=confidence)
    parents = {row["seed"]: row for row in dense}
    pairs = [(row, parents[row["seed"]]) for row in rows]
    means: Row = {
        "seeds": len(rows),
        "accuracy": accuracy.mean,
        "accuracy_sd": accuracy.sd,
        "delta_accuracy": delta.mean,
        "delta_sd": delta.sd,
        "delta_low": delta.low,
        "delta_high": delta.high,
        "confidence": confidence,
        "params_reduction": _mean([saved(row["params"], parent["params"]) for row, parent in pairs]),
        "train_speedup": geometric_mean([row["train_speedup"] for row in rows]),
        "latency_speedup": geometric_mean([parent["latency_ms"] / row["latency_ms"] for row, parent in pairs]),
    }
    for saving in ("macs", "memory", "energy"):
        means[f"{saving}_reduction"] = _mean([row[f"{saving}_reduction"] for row in rows])
    for kind in ("attack", "corruption", "shift"):
        means[f"{kind}_delta"] = _mean(
            [row["delta_accuracy"] for row in conditions if row["kind"] == kind and _counts(row)]
        )
    return means


def _counts(row: Row) -> bool:
    """Epsilon 0 is no attack; shifted sets have no level."""
    return bool(row["kind"] != "attack" or row["level"] > 0)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
