"""A plausible benchmark with a planted outcome, written as the result tables and the paper's."""

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.unit.tables.toy import inferred, placed, records

from layerlottery.config.results import ReportSettings, StatisticsSettings
from layerlottery.report.report import report
from layerlottery.store.artifacts import write_table
from layerlottery.store.schemas import PAPER_TABLES, TABLES, arrow_schema
from layerlottery.tables.comparisons import comparisons
from layerlottery.tables.summary import summary

CORRUPTED = ("gaussian_noise", "brightness", "contrast", "jpeg_compression", "pixelate", "gaussian_blur")
EPSILONS = (0.5, 1.0, 2.0, 4.0, 8.0)
BLOCK_MACS, DENSE_MACS, DENSE_PARAMS = 4_718_592, 69_124_736, 466_906
# planted: grasp wins with 1 removed and random loses there; snip loses with 3; the rest scatters
PLANTED = {("grasp", 1): (0.7, 0.1), ("random", 1): (-2.0, 0.1), ("snip", 3): (-6.0, 0.2)}
TICKET = ("dataset", "network", "structure", "criterion", "scored_at", "removed", "rewind", "step")
Row = dict[str, Any]
Choice = tuple[str, str, int, str, int, str]


@dataclass(frozen=True)
class Benchmark:
    """What was run; every default can be left out of a test."""

    seeds: tuple[int, ...] = (0, 1, 2)
    groups: tuple[tuple[str, str], ...] = (("digits", "resnet32"),)
    criteria: tuple[str, ...] = ("random", "snip", "grasp", "l1")
    removed: tuple[int, ...] = (1, 2, 3, 4)
    structures: tuple[str, ...] = ("layers",)
    draws: int = 1
    rewound: tuple[str, ...] = ()
    fresh: tuple[int, ...] = ()
    rounds: int = 0
    fills: tuple[str, ...] = ("table2", "figure3")
    baselines: tuple[str, ...] = ()
    similar: bool = True
    stage_blocks: int = 5
    epochs: int = 12
    kinds: tuple[str, ...] = ("attack", "corruption", "shift")
    latency: bool = True
    planted: dict[tuple[str, int], tuple[float, float]] = field(default_factory=lambda: dict(PLANTED))
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def blocks(self) -> list[str]:
        return [f"stage{stage}.{block}" for stage in (1, 2, 3) for block in range(self.stage_blocks)]

    def tickets(self) -> Iterator[Choice]:
        """Structure, criterion, draw, scored_at, removed and rewind."""
        for structure, criterion, removed in product(self.structures, self.criteria, self.removed):
            for draw in range(self.draws):
                yield structure, criterion, draw, "init", removed, "0"
        for criterion, removed in product(self.criteria, self.fresh):
            yield "layers", criterion, 0, "init", removed, "random"
        for criterion, rewind in product(self.criteria if self.rewound else (), self.rewound):
            yield "layers", criterion, 0, "trained", 1, rewind


# a page that is drawn quickly
SMALL: Row = {"criteria": ("random", "snip"), "removed": (1,), "kinds": (), "fills": (), "similar": False}
# every part of the page but attacks: 36 families of 6 criteria
EVERYTHING: Row = {
    "criteria": ("random", "random_spread", "snip", "grasp", "l1", "kl"),
    "removed": (1, 2),
    "structures": ("layers", "filters"),
    "rewound": ("0", "4", "8"),
    "fresh": (1,),
    "fills": ("table1", "table2", "table4", "figure3", "claims"),
    "kinds": ("corruption", "shift"),
}


def write_benchmark(folder: Path, benchmark: Benchmark) -> Path:
    """Write all tables; returns the folder."""
    runs = [row for group in benchmark.groups for seed in benchmark.seeds for row in _runs(benchmark, group, seed)]
    statistics = _statistics(runs, benchmark)
    rows = {
        "runs": runs,
        "robustness": [one for run in runs for one in _conditions(benchmark, run)],
        "detection": [],
        "resilience": list(_resilience(runs, benchmark)),
        "curves": [one for run in runs for one in _curve(benchmark, run)],
        "scores": list(_scores(benchmark)),
        "similarity": [one for run in runs if benchmark.similar for one in _similarity(benchmark, run)],
        "answers": [],
        "agreement": [],
        "summary": statistics[0],
        "comparisons": statistics[1],
        "stability": list(_stability(benchmark)),
    }
    rows |= {name: paper_rows(name) if name in benchmark.fills else [] for name in PAPER_TABLES}
    for name in TABLES | PAPER_TABLES:
        write_rows(folder, name, rows[name])
    return folder


def write_rows(folder: Path, name: str, rows: list[Row]) -> None:
    """Write one table; columns that a row leaves out are null."""
    names = [column.name for column in (TABLES | PAPER_TABLES)[name]]
    full = [{key: row.get(key) for key in names} for row in rows]
    write_table(folder / f"{name}.parquet", pa.Table.from_pylist(full, arrow_schema(name)), config_hash="0" * 64)


def _runs(benchmark: Benchmark, group: tuple[str, str], seed: int) -> Iterator[Row]:
    base = 93 + 0.4 * math.sin(seed * 2.1)
    start = {"dataset": group[0], "network": group[1], "seed": seed}
    yield start | _network(benchmark, base, base, ("none", None, 0, None, 0, "0"))
    for choice in benchmark.tickets():
        structure, criterion, *_, removed, _rewind = choice
        mean, scatter = benchmark.planted.get((criterion, removed), (-0.4 * removed, 1.3))
        delta = mean + scatter * (seed - 1) + 0.05 * benchmark.rng.standard_normal()
        delta = 1.3 * delta - 0.5 if structure == "filters" else delta
        yield start | _network(benchmark, base + delta, base, choice)
    yield from (start | row for row in _rounds(benchmark, base, seed))


TUNED = "trained-1a2b3c4d"


def _rounds(benchmark: Benchmark, base: float, seed: int) -> Iterator[Row]:
    """Fine-tuned rounds of a block, the first also as a ticket of its own, and rounds of a fifth of the filters."""
    chosen = [criterion for criterion in benchmark.criteria if benchmark.rounds]
    for criterion, number in product(chosen, range(1, benchmark.rounds + 1)):
        delta = 0.1 * seed - 0.3 * number
        layers = _network(benchmark, base + delta, base, ("layers", criterion, 0, "trained", number, TUNED))
        layers |= {"epochs": 4, "total_seconds": 4000 + number * layers["train_seconds"]}
        filters = _network(benchmark, base + delta, base, ("filters_by_share", criterion, 0, "trained", number, "0"))
        yield layers | {"step": 1, "round": number}
        yield filters | {"step": 20, "round": number, "removed": round(100 * (1 - 0.8**number))}
        if number == 1:
            yield layers


def _network(benchmark: Benchmark, accuracy: float, base: float, choice: tuple[Any, ...]) -> Row:
    structure, criterion, draw, scored_at, removed, rewind = choice
    rng = benchmark.rng
    whole = DENSE_MACS * benchmark.stage_blocks // 5
    saved = removed * BLOCK_MACS / whole
    removable = [name for name in benchmark.blocks() if not name.endswith(".0")]
    count = removed if structure == "layers" else 0
    gone = list(rng.choice(removable, size=count, replace=False)) if criterion != "l1" else removable[:count]
    seconds = 4000 * (1 - 0.93 * saved) * (1 + 0.02 * rng.standard_normal())
    return {
        "structure": structure, "criterion": criterion, "draw": draw, "scored_at": scored_at, "removed": removed,
        "rewind": rewind, "recipe": "default-12345678", "step": 0,
        "round": int(removed > 0), "epochs": benchmark.epochs - (int(rewind) if rewind.isdigit() else 0),
        "removed_blocks": sorted(gone), "accuracy": accuracy, "dense_accuracy": base, "delta_accuracy": accuracy - base,
        "nll": 0.3, "brier": 0.11, "ece": 0.03 + 0.002 * removed, "params": int(DENSE_PARAMS * (1 - 0.9 * saved)),
        "macs": whole - removed * BLOCK_MACS, "macs_reduction": 100 * saved, "memory_bytes": int(4e8 * (1 - saved)),
        "memory_reduction": 92 * saved, "latency_ms": 6.1 * (1 - 0.8 * saved) if benchmark.latency else None,
        "latency_batch": 1, "latency_threads": 1, "train_images": 1437,
        "train_seconds": seconds, "images_per_second": 1437 * benchmark.epochs / seconds,
        "train_speedup": 4000 / seconds, "energy_kwh": seconds * 1.5e-5, "energy_reduction": 100 - seconds / 40,
        "co2_kg": seconds * 6e-6, "carbon_intensity": 0.4, "co2_lacoste_kg": seconds * 7e-6,
        **_in_all(seconds, scored_at == "trained"),
        "power_source": "constant, 65 W", "segments": 1, "device": "a processor, 2 cores", "threads": 2,
        "precision": "float32", "criterion_settings": json.dumps({"function": criterion}) if criterion else None,
        "config_hash": "0" * 64, "package_version": "0.1.0",
        "git_commit": "1" * 40, "torch_version": "2.0", "cuda_version": None, "driver_version": None, "host": "node1",
        "slurm_job_id": None, "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:00:09Z",
        "training_settings": "{}",
    }  # fmt: skip


def _in_all(seconds: float, on_dense: bool) -> Row:
    """What a ticket's training has cost with the dense network's, if it rests on that."""
    total = seconds + 4000 * on_dense
    return {
        "total_seconds": total,
        "total_speedup": 4000 / total,
        "total_kwh": total * 1.5e-5,
        "total_co2_kg": total * 6e-6,
    }


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
            "origin": "generated" if kind == "corruption" else None,
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
                    "criterion": criterion, "draw": 0, "scored_at": "init", "block": name, "stage": name.split(".")[0],
                    "removable": not name.endswith(".0"), "raw": 1.0, "score": 1.0, "rank": 1,
                }  # fmt: skip


def _by_ticket(runs: list[Row]) -> dict[tuple[Any, ...], list[Row]]:
    together: dict[tuple[Any, ...], list[Row]] = {}
    for run in (one for one in runs if one["criterion"]):
        together.setdefault(tuple(run[key] for key in TICKET), []).append(run)
    return together


def _statistics(runs: list[Row], benchmark: Benchmark) -> tuple[list[Row], list[Row]]:
    """Summary and comparisons as the tables' own code infers them from accuracies alone."""
    if not _by_ticket(runs):
        return [], []
    networks = placed([run | _beside(run) for run in runs])
    settings = StatisticsSettings(baselines=list(benchmark.baselines))
    clean, measured, inference = inferred(networks, settings)
    return records(summary(networks, clean, settings)), records(comparisons(networks, measured, inference))


def _beside(run: Row) -> Row:
    """What the statistics take beside the columns of the runs."""
    latency = run["latency_ms"]
    robust = {"attack": -1.5, "corruption": -1.2, "shift": 0.25}
    facts = {f"{kind}_sum": change for kind, change in robust.items()}
    facts |= {f"{kind}_count": 1 for kind in robust}
    facts |= {"params_reduction": 100 * (1 - run["params"] / DENSE_PARAMS)}
    return facts | {"latency_speedup": 6.1 / latency if latency else np.nan}


def _resilience(runs: list[Row], benchmark: Benchmark) -> Iterator[Row]:
    """Tickets with 1 block removed are better under corruption and worse under attack; the rest can't be told."""
    measures = {
        ("accuracy, corrupted", None): ("corruption", 70.0, 1.5, "higher"),
        ("mCE", None): ("corruption", 100.0, -2.5, "lower"),
        ("accuracy, attacked", None): ("attack", 30.0, -3.5, "higher"),
        ("median minimum norm", "fmn_l2"): ("attack", 25.0, 0.5, "higher"),
        ("AUROC", "shuffled, energy"): ("shift", 0.9, 0.025, "higher"),
    }
    primary = {("accuracy, corrupted", None)}
    for key, rows in _by_ticket(runs).items():
        for (measure, name), (kind, dense, change, better) in measures.items():
            if kind in benchmark.kinds:
                told = "better" if change * (1 if better == "higher" else -1) > 0 else "worse"
                facts = {"measure": measure, "name": name, "better": better, "seeds": len(rows), "dense": dense}
                facts |= {"value": dense + change, "difference": change, "low": change - 1, "high": change + 1}
                outcome = told if key[5] == 1 and measure != "median minimum norm" else "undecided"
                role = "primary" if (measure, name) in primary else "exploratory"
                yield dict(zip(TICKET, key, strict=True)) | facts | {"outcome": outcome, "role": role}


def _similarity(benchmark: Benchmark, run: Row) -> Iterator[Row]:
    names = [*benchmark.blocks(), "penultimate"] if run["criterion"] else []
    for position, name in enumerate(names, start=1):
        if name not in run["removed_blocks"]:
            stage = name.split(".")[0] if "." in name else None
            slope = 0.1 + 0.05 * benchmark.criteria.index(run["criterion"])
            cka = 1 - 0.03 * run["removed"] - slope * position / len(names) + 0.001 * run["seed"]
            yield run | {"layer": name, "stage": stage, "position": position, "cka": cka, "images": 360}


def _stability(benchmark: Benchmark) -> Iterator[Row]:
    for (dataset, network), criterion in product(benchmark.groups, benchmark.criteria):
        rankings = len(benchmark.seeds) * benchmark.draws
        known = {"kendall_w": 0.875, "p_value": 0.0004} if rankings > 1 else {}
        facts = {"blocks": 3 * (benchmark.stage_blocks - 1), "rankings": rankings}
        yield {"dataset": dataset, "network": network, "criterion": criterion, "scored_at": "init"} | facts | known


def _heights() -> Iterator[Row]:
    heights = {"stage1.1": 0.25, "stage1.2": 0.26, "stage2.1": 0.5, "stage2.2": 0.51, "stage3.1": 1.0}
    facts = {"quantity": "l1 score", "unit": "mean absolute kernel sum", "criterion": "l1", "scored_at": "init"}
    for block, high in heights.items():
        yield facts | {"item": f"{block}, l1 at init", "measured": high, "low": high - 0.02, "high": high + 0.02}


def paper_rows(name: str) -> list[Row]:
    """A table of the paper with hand-made figures."""
    same = {"dataset": "cifar10", "network": "resnet32", "scale": "reduced: 30 of 200 epochs, 10,000 images, 3 seeds"}
    plain = {"quantity": "Δ accuracy", "unit": "pp", "margin": 0.5, "random": -0.91, "seeds": 3}
    if name == "figure3":
        return [same | row for row in _heights()]
    rows = [
        {"item": "snip, 1 removed", "paper": 0.08, "measured": -0.42, "low": -1.0, "high": 0.16}
        | {"verdict": "can't tell at this scale", "against_random": "undecided"},
        {
            "item": "grasp, 1 removed",
            "paper": 0.4,
            "measured": 0.71,
            "low": 0.61,
            "high": 0.81,
            "note": "one note; another",
        }
        | {"verdict": "agrees", "against_random": "better"},
        {"item": "grasp, 5 removed", "paper": 0.12, "measured": -3.2, "low": -3.5, "high": -2.9, "note": "one note"}
        | {"verdict": "disagrees", "against_random": "worse"},
    ]
    missing = {"item": "grasp, 9 removed", "paper": 0.11, "seeds": 0, "random": None, "verdict": "not measured"}
    saved = {
        "item": "grasp, 1 removed",
        "quantity": "training speed-up",
        "unit": "factor",
        "paper": 1.1,
        "measured": 1.08,
        "low": 1.05,
        "high": 1.11,
    }
    factors = [saved | {"margin": 0.1, "verdict": "can't tell at this scale", "seeds": 1, "random": 1.07}]
    return [same | plain | row for row in (*rows, missing, *(factors if name == "table4" else []))]


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


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of a benchmark that has something for every section, in 36 families."""
    return write_benchmark(tmp_path_factory.mktemp("everything"), Benchmark(**EVERYTHING))


@pytest.fixture(scope="session")
def everything_page(everything: Path) -> str:
    """Its page."""
    report(everything, everything / "index.html", ReportSettings())
    return (everything / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of one ticket and its control, with nothing evaluated."""
    return write_benchmark(tmp_path_factory.mktemp("small"), Benchmark(**SMALL))


@pytest.fixture(scope="session")
def small_page(small: Path) -> str:
    """Its page."""
    report(small, small / "index.html", ReportSettings())
    return (small / "index.html").read_text(encoding="utf-8")
