"""A plausible benchmark with a planted outcome, written as the five result tables."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import stdtrit

from layerlottery.report.report import report
from layerlottery.results.artifacts import write_table
from layerlottery.results.schemas import TABLES, arrow_schema
from layerlottery.settings import ReportSettings

CORRUPTED = ("gaussian_noise", "gaussian_blur", "brightness", "contrast", "jpeg", "pixelate")
EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
BLOCK_MACS, DENSE_MACS, DENSE_PARAMS = 4_718_592, 69_124_736, 466_906
# planted: grasp wins at density 1 and random loses there; snip loses at density 3; the rest scatters
PLANTED = {("grasp", 1): (0.7, 0.1), ("random", 1): (-2.0, 0.1), ("snip", 3): (-6.0, 0.2)}
Row = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """What was run; every default can be left out of a test."""

    seeds: tuple[int, ...] = (0, 1, 2)
    groups: tuple[tuple[str, str], ...] = (("digits", "resnet32"),)
    criteria: tuple[str, ...] = ("random", "snip", "grasp", "l1")
    densities: tuple[int, ...] = (1, 2, 3, 4)
    structures: tuple[str, ...] = ("layers",)
    trained: bool = False
    stage_blocks: int = 5
    epochs: int = 12
    kinds: tuple[str, ...] = ("attack", "corruption", "shift")
    latency: bool = True
    planted: dict[tuple[str, int], tuple[float, float]] = field(default_factory=lambda: dict(PLANTED))
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def blocks(self) -> list[str]:
        return [f"stage{stage}.{block}" for stage in (1, 2, 3) for block in range(self.stage_blocks)]

    def tickets(self) -> Iterator[tuple[str, str, str, int, int]]:
        for structure in self.structures:
            for criterion in self.criteria:
                for density in self.densities:
                    yield structure, criterion, "init", density, 0
        if self.trained:
            yield "layers", "l1", "trained", 1, 5


def write_benchmark(folder: Path, benchmark: Benchmark) -> Path:
    """Write all five tables; returns the folder."""
    runs = [row for group in benchmark.groups for seed in benchmark.seeds for row in _runs(benchmark, group, seed)]
    rows = {
        "runs": runs,
        "robustness": [one for run in runs for one in _conditions(benchmark, run)],
        "curves": [one for run in runs for one in _curve(benchmark, run)],
        "scores": list(_scores(benchmark)),
        "summary": list(_summary(runs)),
    }
    for name in TABLES:
        write_rows(folder, name, rows[name])
    return folder


def write_rows(folder: Path, name: str, rows: list[Row]) -> None:
    """Write one table; columns that a row leaves out are null."""
    names = [column.name for column in TABLES[name]]
    full = [{key: row.get(key) for key in names} for row in rows]
    write_table(folder / f"{name}.parquet", pa.Table.from_pylist(full, arrow_schema(name)), config_hash="0" * 64)


def _runs(benchmark: Benchmark, group: tuple[str, str], seed: int) -> Iterator[Row]:
    base = 93 + 0.4 * math.sin(seed * 2.1)
    start = {"dataset": group[0], "network": group[1], "seed": seed}
    yield start | _network(benchmark, base, base, 0, "none", None, None, 0)
    for structure, criterion, scored_at, density, rewind in benchmark.tickets():
        mean, scatter = benchmark.planted.get((criterion, density), (-0.4 * density, 1.3))
        delta = mean + scatter * (seed - 1) + 0.05 * benchmark.rng.standard_normal()
        delta *= 1.3 if structure == "filters" else 1
        yield start | _network(benchmark, base + delta, base, density, structure, criterion, scored_at, rewind)


def _network(
    benchmark: Benchmark,
    accuracy: float,
    base: float,
    density: int,
    structure: str,
    criterion: str | None,
    scored_at: str | None,
    rewind: int,
) -> Row:
    rng = benchmark.rng
    whole = DENSE_MACS * benchmark.stage_blocks // 5
    saved = density * BLOCK_MACS / whole
    removable = [name for name in benchmark.blocks() if not name.endswith(".0")]
    count = density if structure == "layers" else 0
    removed = list(rng.choice(removable, size=count, replace=False)) if criterion != "l1" else removable[:count]
    seconds = 4000 * (1 - 0.93 * saved) * (1 + 0.02 * rng.standard_normal())
    return {
        "structure": structure, "criterion": criterion, "scored_at": scored_at, "density": density, "rewind": rewind,
        "removed": sorted(removed), "accuracy": accuracy, "dense_accuracy": base, "delta_accuracy": accuracy - base,
        "nll": 0.3, "brier": 0.11, "ece": 0.03 + 0.002 * density, "params": int(DENSE_PARAMS * (1 - 0.9 * saved)),
        "macs": whole - density * BLOCK_MACS, "macs_reduction": 100 * saved, "memory_bytes": int(4e8 * (1 - saved)),
        "memory_reduction": 92 * saved, "latency_ms": 6.1 * (1 - 0.8 * saved) if benchmark.latency else None,
        "latency_batch": 1, "latency_threads": 1, "epochs": benchmark.epochs - rewind, "train_images": 1437,
        "train_seconds": seconds, "images_per_second": 1437 * benchmark.epochs / seconds,
        "train_speedup": 4000 / seconds, "energy_kwh": seconds * 1.5e-5, "energy_reduction": 100 - seconds / 40,
        "co2_kg": seconds * 6e-6, "carbon_intensity": 0.4, "co2_lacoste_kg": seconds * 7e-6,
        "power_source": "constant, 65 W", "segments": 1, "device": "a processor, 2 cores", "threads": 2,
        "precision": "float32", "criterion_settings": json.dumps({"function": criterion}) if criterion else None,
        "config_hash": "0" * 64, "package_version": "0.1.0",
    }  # fmt: skip


def _conditions(benchmark: Benchmark, run: Row) -> Iterator[Row]:
    conditions = [("attack", name, level, 9.0 * level) for name in ("fgsm", "pgd") for level in EPSILONS]
    conditions += [("corruption", name, float(level), 4.0 * level) for name in CORRUPTED for level in range(1, 6)]
    conditions += [("shift", "mnist", 0.0, 30.0)]
    kept = [one for one in conditions if one[0] in benchmark.kinds]
    for kind, name, level, loss in ([("clean", "clean", 0.0, 0.0)] if kept else []) + kept:
        base = max(0.0, run["dense_accuracy"] - loss)
        change = run["delta_accuracy"] + (benchmark.rng.standard_normal() if kind != "clean" else 0)
        facts = {
            "kind": kind,
            "name": name,
            "level": level,
            "images": 360,
            "ece": 0.03 + loss / 300,
            "nll": 0.3,
            "brier": 0.2,
        }
        yield run | facts | {"accuracy": max(0, base + change), "dense_accuracy": base, "delta_accuracy": change}


def _curve(benchmark: Benchmark, run: Row) -> Iterator[Row]:
    for epoch in range(1, run["epochs"] + 1):
        reached = run["accuracy"] - 60 * math.exp(-6 * epoch / run["epochs"]) + 0.15 * math.exp(-6)
        facts = {"epoch": epoch, "learning_rate": 0.1, "train_loss": 0.2, "train_accuracy": 99.0, "test_loss": 0.3}
        yield run | facts | {"test_accuracy": reached + 0.8 * benchmark.rng.standard_normal() / epoch, "seconds": 1.0}


def _scores(benchmark: Benchmark) -> Iterator[Row]:
    for group in benchmark.groups:
        for criterion in benchmark.criteria:
            for name in benchmark.blocks():
                yield {
                    "dataset": group[0], "network": group[1], "seed": benchmark.seeds[0], "structure": "layers",
                    "criterion": criterion, "scored_at": "init", "block": name, "stage": name.split(".")[0],
                    "removable": not name.endswith(".0"), "raw": 1.0, "score": 1.0, "rank": 1,
                }  # fmt: skip


def _summary(runs: list[Row]) -> Iterator[Row]:
    keys = ("dataset", "network", "structure", "criterion", "scored_at", "density", "rewind")
    spreads = {
        (run["dataset"], run["network"]): _sd([one["accuracy"] for one in runs if _dense_of(run, one)]) for run in runs
    }
    together: dict[tuple[Any, ...], list[Row]] = {}
    for run in (one for one in runs if one["criterion"]):
        together.setdefault(tuple(run[key] for key in keys), []).append(run)
    for key, rows in together.items():
        for xi, points in (("0", 0.0), ("1", 1.0), ("sd", spreads[key[:2]])):
            yield dict(zip(keys, key, strict=True)) | _ticket(rows) | _judged(rows, points) | {"xi": xi}


def _dense_of(run: Row, other: Row) -> bool:
    return not other["criterion"] and all(run[key] == other[key] for key in ("dataset", "network"))


def _sd(values: list[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _ticket(rows: list[Row]) -> Row:
    first = rows[0]
    means = {key: float(np.mean([row[key] for row in rows])) for key in ("accuracy", "delta_accuracy", "train_speedup")}
    same = {key: first[key] for key in ("macs_reduction", "memory_reduction", "energy_reduction")}
    latency = {"latency_speedup": 6.1 / first["latency_ms"] if first["latency_ms"] else None}
    saved = {"params_reduction": 100 * (1 - first["params"] / DENSE_PARAMS)}
    sds = {
        "accuracy_sd": _sd([row["accuracy"] for row in rows]),
        "delta_sd": _sd([row["delta_accuracy"] for row in rows]),
    }
    robust = {"attack_delta": -1.5, "corruption_delta": -1.2, "shift_delta": 0.25}
    return means | same | latency | saved | sds | robust | {"seeds": len(rows)}


def _judged(rows: list[Row], points: float | None) -> Row:
    deltas = [row["delta_accuracy"] for row in rows]
    won = None if points is None else sum(delta + points >= 0 for delta in deltas)
    facts: Row = {"xi_points": points, "won": won}
    if len(deltas) < 2 or points is None:
        return facts | {"verdict": "single seed"}
    half = float(stdtrit(len(deltas) - 1, 0.975)) * np.std(deltas, ddof=1) / math.sqrt(len(deltas))
    low, high = float(np.mean(deltas) - half), float(np.mean(deltas) + half)
    verdict = "winning" if low >= -points else "losing" if high < -points else "undecided"
    return facts | {"delta_low": low, "delta_high": high, "confidence": 0.95, "verdict": verdict}


@pytest.fixture(scope="session")
def make() -> Callable[..., Path]:
    """A function that writes the tables of a benchmark into a folder and returns the folder."""
    return lambda folder, **changes: write_benchmark(folder, Benchmark(**changes))


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of the default benchmark."""
    return write_benchmark(tmp_path_factory.mktemp("planted"), Benchmark())


@pytest.fixture(scope="session")
def planted_page(planted: Path) -> str:
    """Its page."""
    report(planted, planted / "index.html", ReportSettings())
    return (planted / "index.html").read_text(encoding="utf-8")
