"""`layerlottery aggregate` on a synthetic results folder: time and peak memory, beside the goals for 20,000 networks.

    python benchmarks/scale_aggregate.py
    python benchmarks/scale_aggregate.py --networks 2000 --folder /tmp/synthetic

Nothing is trained: the package's own functions write every file, with the figures of a few variants that are
plausible, and with what it was made from. A folder that is given is kept, and used again as it is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa

from layerlottery import paths
from layerlottery.config.criteria import CRITERIA
from layerlottery.config.evaluation import AttackSettings, CorruptionSettings
from layerlottery.config.recipes import Recipes
from layerlottery.config.studies import AggregateSettings, Study, expand, expand_scorings
from layerlottery.config.training import TrainingSettings
from layerlottery.store.artifacts import write_facts, write_table
from layerlottery.store.hashing import digest
from layerlottery.store.schemas import IDENTITY, arrow_schema

GOAL_SECONDS, GOAL_GIB = 60, 1.0  # for 20,000 networks

BLOCKS = {"resnet56": 9, "resnet110": 18}  # in each of three stages
SEEDS = range(10)
# 20 criteria of layers: the built-in ones, and variants as users add them
LAYERS = {name: settings for name, settings in CRITERIA.items() if settings.fits("layers")}
LAYERS |= {
    f"{name}_mean": CRITERIA[name].model_copy(update={"reduction": "mean"})
    for name in ("l1", "snip", "grasp", "synflow", "pls")
}
REWINDS, DENSITIES = (0, 1, 2, 5, "random"), range(1, 11)
EPOCHS, VARIANTS = 20, 50
MEASURED = ("norm", "nll", "brier", "ece", "nll_scaled", "brier_scaled", "ece_scaled")

Facts = dict[str, Any]


def studies(networks: int) -> list[Study]:
    """One grid a rewind, of at least so many networks; 20,000 are 2,000 tickets of ten seeds."""
    dense = len(BLOCKS) * len(SEEDS)
    points = -(-(networks - dense) // (dense * len(LAYERS)))
    given = {"datasets": ["cifar10"], "networks": list(BLOCKS), "seeds": list(SEEDS), "criteria": list(LAYERS)}
    grids = [
        {"name": f"rewind_{rewind}", "rewinds": [rewind], "removed": list(DENSITIES)[: points - first]}
        for rewind, first in zip(REWINDS, range(0, points, len(DENSITIES)), strict=False)
    ]
    return [Study.model_validate(given | grid) for grid in grids]


def synthesize(results: Path, chosen: Sequence[Study]) -> None:
    """Write the files that aggregation reads."""

    def write(name: str, inputs: Sequence[str], kind: str, *about: Any) -> None:
        held = variant(kind, *about)
        save = write_facts if isinstance(held, dict) else write_table
        made_by = digest([name, kind, *about])
        save(results / name, held, config_hash=made_by, inputs={place: digest(place) for place in inputs})

    rng = np.random.default_rng(0)
    for run in expand(chosen, Recipes()):
        number, data = int(rng.integers(VARIANTS)), paths.prepared(paths.DATASET.format(**vars(run)))
        start, trained, dense = (
            paths.initial_weights(run.folder),
            *map(paths.trained_weights, (run.folder, run.dense.folder)),
        )
        write(paths.training_facts(run.folder), [start, data, trained], "training", number, run.seed)
        for path in (paths.curve, paths.shift, paths.detection, paths.attack):
            write(path(run.folder), [trained, data, dense], path.__name__, number)
        if run.removed:
            write(paths.similarity(run.folder), [trained, data, dense], "similarity", number, run.network)
            made = [start, paths.initial_weights(run.dense.folder)]
            write(paths.ticket_facts(run.folder), made, "ticket", run.network, run.criterion, run.removed)
        else:
            write(paths.profile(run.folder), [start, data], "profile", run.network)
    for run in expand_scorings(chosen, Recipes()):
        made = [paths.initial_weights(run.dense.folder)]
        write(paths.scores(run.scored), made, "scores", run.network, run.criterion, run.seed)


@cache
def variant(kind: str, *about: Any) -> Any:
    """The content of one variant of an artifact."""
    return MAKERS[kind](*about)


def figures(*about: Any) -> np.random.Generator:
    """Random figures, the same whenever they are asked for."""
    return np.random.default_rng(int(digest(list(about))[:8], 16))


def training(variant: int, seed: int) -> Facts:
    seconds = figures("training", variant).uniform(500, 900)
    segment = {"kwh": 4e-5 * seconds, "cpu_kwh": 1e-5 * seconds, "gpu_kwh": 2e-5 * seconds, "ram_kwh": 1e-5 * seconds}
    segment |= {"seconds": seconds, "power_source": "cpu_load 8 W", "cpu_watts": 8.0, "design_watts": 300.0}
    segment |= {"host": "gpu-1", "slurm_job_id": "1"}
    segment |= {"started": "2030-01-01T00:00:00Z", "ended": "2030-01-01T00:12:00Z"}
    facts = {"accuracy": 90.0, "epochs": EPOCHS, "train_images": 50_000, "train_seconds": seconds}
    facts |= {"images_per_second": 1e6 / seconds, "segments": [segment] * (1 + variant % 2)}
    facts |= {
        "seed": seed,
        "threads": 1,
        "device": "a GPU",
        "precision": "bfloat16",
        "package_version": "1.0.0",
        "git_commit": "0" * 40,
    }
    facts |= {"training_settings": TrainingSettings(epochs=EPOCHS).model_dump(mode="json")}
    return facts | {"torch_version": "2", "cuda_version": "13", "driver_version": "600"}


def curve(variant: int) -> pa.Table:
    rng, own = figures("curve", variant), own_columns("curves")
    return pa.table(
        {field.name: range(1, EPOCHS + 1) if field.name == "epoch" else rng.random(EPOCHS) for field in own}
    )


def shift(variant: int) -> pa.Table:
    corrupted = product(["corruption"], CorruptionSettings().names, map(float, CorruptionSettings().severities))
    clean = [("clean", "clean", 0.0), ("clean", "corrupted images", 0.0), ("shift", "cifar10.1", 0.0)]
    table = conditions([*clean, *corrupted], variant, trusted=True)
    return table.append_column("temperature", pa.array([1.5, *[None] * (len(table) - 1)], pa.float64()))


def attack(variant: int) -> pa.Table:
    settings = AttackSettings()
    bounds = {name: settings.l2_epsilons if name.endswith("l2") else settings.epsilons for name in settings.attacks}
    places = [("transfer", "pgd", level) for level in (0.0, *bounds.pop("transfer"))]
    for name, levels in bounds.items():
        if name.startswith("fmn"):
            places.append(("minimum_norm", name, 0.0))
        else:
            places += [("attack", name, level) for level in (0.0, *levels)]
    return conditions(places, variant, trusted=False)


def conditions(places: Sequence[tuple[str, str, float]], variant: int, *, trusted: bool) -> pa.Table:
    """A row for every kind, name and level; calibration where it is trusted."""
    rng, count = figures("conditions", trusted, variant), len(places)
    kinds, names, levels = zip(*places, strict=True)
    # percent of 10,000 test images
    accuracy = np.round(92 - np.arange(count) / 4 + rng.normal(0, 0.4, count), 2)
    trust = rng.random(count).tolist() if trusted else [None] * count
    columns = {"kind": kinds, "name": names, "level": levels, "accuracy": accuracy, "images": [10_000] * count}
    columns |= dict.fromkeys([name for name in MEASURED if name != "norm"], trust)
    columns["norm"] = [rng.uniform(1, 9) if kind == "minimum_norm" else None for kind in kinds]
    columns["origin"] = ["official" if kind == "corruption" else None for kind in kinds]
    left_out = ("dense_accuracy", "delta_accuracy", "config_hash")
    own = [field for field in own_columns("robustness") if field.name not in left_out]
    # as write_conditions does
    own = [field for field in own if any(value is not None for value in columns[field.name])]
    return pa.table([pa.array(columns[field.name], field.type) for field in own], schema=pa.schema(own))


def detection(variant: int) -> pa.Table:
    rng, scores = figures("detection", variant), ("msp", "max_logit", "energy")
    sets = [("CIFAR100", "near"), ("SVHN", "far"), ("photographs", "far")]
    columns: dict[str, Any] = {
        "outliers": [name for name, _ in sets for _ in scores],
        "distance": [distance for _, distance in sets for _ in scores],
        "score": [*scores] * len(sets),
    }
    count = len(columns["score"])
    columns |= {name: rng.random(count) for name in ("auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_in")}
    return pa.table(columns | dict.fromkeys(("in_images", "out_images"), [10_000] * count))


def own_columns(table: str) -> list[pa.Field]:
    """The columns that a stage writes: those of a network's identity come from its folder."""
    return [field for field in arrow_schema(table) if field.name not in {column.name for column in IDENTITY}]


def similarity(variant: int, network: str) -> pa.Table:
    stages = [name.partition(".")[0] for name in block_names(network)]
    columns = {"layer": [*block_names(network), "penultimate"], "stage": [*stages, None]}
    count = len(stages) + 1
    columns |= {"position": range(1, count + 1), "cka": figures("similarity", variant).random(count)}
    return pa.table(columns | {"images": [500] * count})


def block_names(network: str) -> list[str]:
    return [f"stage{stage}.{block}" for stage in (1, 2, 3) for block in range(BLOCKS[network])]


def architecture(network: str, criterion: str, removed: int) -> Facts:
    removable = [name for name in block_names(network) if not name.endswith(".0")]
    removed_blocks = figures(network, criterion).permutation(removable)[:removed].tolist()
    return {
        "depth": 6 * BLOCKS[network] + 2,
        "shortcut": "A",
        "width": 16,
        "channels": 3,
        "removed_blocks": removed_blocks,
    }


def ticket(network: str, criterion: str, removed: int) -> Facts:
    left = architecture(network, criterion, removed)
    kept = [name for name in block_names(network) if name not in left["removed_blocks"]]
    facts = {
        "structure": "layers",
        "removed": removed,
        "architecture": left,
        "removed_blocks": left["removed_blocks"],
        "kept": kept,
    }
    return facts | {
        "ties": [],
        "tied": 0,
        "budget": None,
        "filters": 1000,
        "criterion_settings": LAYERS[criterion].model_dump(mode="json"),
    }


def profile(network: str) -> Facts:
    places = [(criterion, removed) for criterion in LAYERS for removed in (0, *DENSITIES)]
    sizes = {digest(architecture(network, *place)): 1 - place[1] / 60 for place in places}
    costs = [
        {"architecture": name, "filters": 2000, "params": int(850_000 * size), "macs": int(125_000_000 * size)}
        | {"memory_bytes": int(200_000_000 * size), "latency_ms": 20 * size}
        for name, size in sizes.items()
    ]
    return {"dense": costs[0]["architecture"], "architectures": costs, "latency_batch": 1, "latency_threads": 1}


def scores(network: str, criterion: str, seed: int) -> Facts:
    rng = figures("scores", network, criterion, seed)
    blocks = [
        {"name": name, "stage": name.partition(".")[0], "removable": not name.endswith(".0"), "raw": raw, "score": raw}
        for name, raw in zip(block_names(network), rng.random(3 * BLOCKS[network]).tolist(), strict=True)
    ]
    return {"settings": LAYERS[criterion].model_dump(mode="json"), "images": 100, "blocks": blocks, "ties": []}


MAKERS = {
    make.__name__: make for make in (training, curve, shift, attack, detection, similarity, ticket, profile, scores)
}


def measure(results: Path, chosen: Sequence[Study]) -> tuple[float, float]:
    """Seconds of the command, and the most GiB that its process and its readers have at once."""
    settings = AggregateSettings(studies=list(chosen)).slice()
    command = ["layerlottery", "aggregate", "--settings", settings, "--results", str(results)]
    began, peak = time.perf_counter(), 0
    child = psutil.Popen(command, stderr=subprocess.DEVNULL)
    while child.poll() is None:
        peak = max(peak, sum(map(own_bytes, [child, *child.children(recursive=True)])))
        time.sleep(0.2)
    if child.returncode:
        sys.exit(f"aggregate failed with status {child.returncode}")
    return time.perf_counter() - began, peak / 2**30


def own_bytes(process: psutil.Process) -> int:
    """Memory that no other process shares."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:  # it ends just now
        return 0


def report(networks: int, seconds: float, gib: float) -> bool:
    """Print the figures beside the goals; whether both are met."""
    print(f"{networks:,} networks: {seconds:.1f} s, {1000 * seconds / networks:.2f} ms a network, {gib:.2f} GiB")
    print(f"goal for 20,000: {GOAL_SECONDS} s, {GOAL_SECONDS / 20:.2f} ms a network, {GOAL_GIB:.2f} GiB")
    return seconds < GOAL_SECONDS and gib < GOAL_GIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", type=int, default=20_000, help="at least so many")
    parser.add_argument("--folder", type=Path, help="results folder, kept; a temporary one otherwise")
    given = parser.parse_args()
    chosen = studies(given.networks)
    networks = len(expand(chosen, Recipes()))
    with tempfile.TemporaryDirectory() as temporary:
        results = (given.folder or Path(temporary)) / f"networks={networks}"
        if not results.exists():
            began = time.perf_counter()
            synthesize(results, chosen)
            print(f"synthesized in {time.perf_counter() - began:.0f} s", flush=True)
        if not report(networks, *measure(results, chosen)):
            sys.exit("a goal is missed")


if __name__ == "__main__":
    main()
