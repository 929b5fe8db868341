"""A results folder made by hand: two seeds, a dense network and its tickets, nothing trained."""

from dataclasses import replace

import pyarrow as pa
import pytest

from layerlottery import paths
from layerlottery.config.recipes import Recipes
from layerlottery.config.studies import Run
from layerlottery.store.artifacts import write_facts, write_table
from layerlottery.store.hashing import digest
from layerlottery.store.schemas import arrow_schema

RECIPE = Recipes().level("resnet20")
DENSE = [Run("digits", "resnet20", seed, recipe=RECIPE) for seed in (0, 1)]
TICKETS = [replace(dense, structure="layers", criterion="l1", scored_at="init", removed=1, round=1) for dense in DENSE]
RANDOM = [replace(ticket, criterion="random") for ticket in TICKETS]
FILTERS = [replace(ticket, structure="filters") for ticket in TICKETS]
ACCURACY = dict(zip([*DENSE, *TICKETS, *RANDOM, *FILTERS], [90.0, 94, 91, 93, 88, 94, 89, 93], strict=True))
SECONDS = dict(zip([*DENSE, *TICKETS, *RANDOM, *FILTERS], [40.0, 60, 20, 40, 20, 40, 40, 40], strict=True))
REMOVED = [["stage1.1"], ["stage3.2"]]
SETTINGS = {"function": "l1", "keep": "high"}


def segment(run, share, hour=0):
    """Part of a training that drew 100 W by its design power; each hour brought another host and job."""
    kwh = SECONDS[run] * share * 1e-5
    parts = {"cpu_kwh": 0.5 * kwh, "gpu_kwh": 0.0, "ram_kwh": 0.5 * kwh}
    place = {"host": f"gpu-{hour}", "slurm_job_id": f"4{hour}"}
    place |= {"started": f"2030-01-01T0{hour}:00:00Z", "ended": f"2030-01-01T0{hour}:30:00Z"}
    spent = {"kwh": kwh, "seconds": SECONDS[run] * share, "design_watts": 100.0, "power_source": "cpu_load"}
    return spent | parts | place


def write_training(root, run):
    # the second ticket was interrupted twice, and went on where it was
    parts = [(0.25, 0), (0.25, 1), (0.5, 1)] if run == TICKETS[1] else [(1, 0)]
    segments = [segment(run, *part) for part in parts]
    facts = {
        "accuracy": -1.0,  # the tables take the clean test set's
        "epochs": 2,
        "train_images": 100,
        "train_seconds": SECONDS[run],
        "images_per_second": 200 / SECONDS[run],
        "segments": segments,
        "device": "a CPU",
        "threads": 1,
        "precision": "float32",
        "seed": run.seed,
        "package_version": "1.2.3",
        "git_commit": "0123",
        "training_settings": {"precision": "auto", "epochs": 2},
        "torch_version": "2",
        "cuda_version": "13",
        "driver_version": "600",
    }
    write_facts(root / paths.training_facts(run.folder), facts, config_hash=f"training of {run.folder}")
    names = ["learning_rate", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"]
    rows = [{"epoch": epoch} | dict.fromkeys(names, epoch / 4) for epoch in (1, 2)]
    write_table(root / paths.curve(run.folder), pa.Table.from_pylist(rows), config_hash="c")


TRUST = {"nll": 0.25, "brier": 0.125, "ece": 0.0625, "nll_scaled": 0.2, "brier_scaled": 0.1, "ece_scaled": 0.05}


def shift_rows(run):
    """Clean, shifted and corrupted test sets: of the 15 corruptions two, of the extras one."""
    accuracy, removed = ACCURACY[run], run.removed
    corrupted = {
        ("contrast", 3.0): accuracy - 10 - 2 * removed,
        ("fog", 3.0): accuracy - 20,
        ("fog", 5.0): accuracy - 40 + 4 * removed,
        ("spatter", 3.0): accuracy - 5,
    }
    rows = [("clean", "clean", 0.0, accuracy), ("clean", "corrupted images", 0.0, accuracy - 1)]
    rows += [("shift", "mnist", 0.0, accuracy - 40)]
    rows += [("corruption", *condition, value) for condition, value in corrupted.items()]
    return [
        dict(zip(("kind", "name", "level", "accuracy"), row, strict=True))
        | {"images": 100, "origin": "generated" if row[0] == "corruption" else None}
        | TRUST
        for row in rows
    ]


def write_conditions(root, run):
    accuracy, removed = ACCURACY[run], run.removed
    attack = [
        {"kind": "attack", "name": "fgsm", "level": level, "accuracy": accuracy - 5 * level - removed * level}
        for level in (0.0, 1.0, 3.0)
    ]
    attack += [{"kind": "transfer", "name": "pgd", "level": 1.0, "accuracy": accuracy - 2}]
    attack += [{"kind": "minimum_norm", "name": "fmn", "level": 0.0, "accuracy": accuracy, "norm": 2.0 + removed / 4}]
    names = ["kind", "name", "level", "origin", "accuracy", "norm", *TRUST, "images"]
    schema = pa.schema([arrow_schema("robustness").field(name) for name in names])
    with_temperature = schema.append(pa.field("temperature", pa.float64()))
    shift = shift_rows(run)
    shift[0] |= {"temperature": 1.5}
    shifted = pa.Table.from_pylist(shift, with_temperature)
    write_table(root / paths.shift(run.folder), shifted, config_hash="shift made")
    attacked = pa.Table.from_pylist([row | {"images": 50} for row in attack], schema)
    write_table(root / paths.attack(run.folder), attacked, config_hash="attack made")
    write_detection(root, run)


def write_detection(root, run):
    names = ["outliers", "distance", "score", "auroc", "aupr_in", "aupr_out", "fpr95", "fpr95_in"]
    rows = [
        ("shuffled", "near", "msp", 0.75 + run.removed / 16, 0.7, 0.7, 0.5, 0.25 + run.removed / 8),
        ("shuffled", "near", "energy", 0.5, 0.7, 0.7, 0.5 - run.removed / 8, 0.25),
    ]
    schema = pa.schema([arrow_schema("detection").field(name) for name in (*names, "in_images", "out_images")])
    held = [dict(zip(names, row, strict=True)) | {"in_images": 100, "out_images": 80} for row in rows]
    write_table(root / paths.detection(run.folder), pa.Table.from_pylist(held, schema), config_hash="detected")


def architecture(run):
    if run.structure == "filters":
        return {"depth": 20, "classes": 10, "filters": [7, 16]}
    return {"depth": 20, "classes": 10, "removed_blocks": REMOVED[run.seed] if run.removed else []}


def cost(run):
    if run.structure == "none":
        return {"params": 1000, "macs": 8000, "memory_bytes": 4000, "latency_ms": 4.0, "filters": 100}
    return {"params": 900, "macs": 6000, "memory_bytes": 3000, "latency_ms": 2.0, "filters": 90}


def write_profile(root, dense):
    family = [dense, TICKETS[dense.seed], FILTERS[dense.seed]]
    rows = [{"architecture": digest(architecture(run))} | cost(run) for run in family]
    facts = {"architectures": rows, "dense": rows[0]["architecture"], "latency_batch": 1, "latency_threads": 1}
    write_facts(root / paths.profile(dense.folder), facts, config_hash="p")


def write_ticket(root, ticket):
    removed_blocks = [] if ticket.structure == "filters" else REMOVED[ticket.seed]
    facts = {
        "structure": ticket.structure,
        "removed": 1,
        "removed_blocks": removed_blocks,
        "kept": [],
        "ties": ["stage2.1"],
        "tied": 1,
        "budget": 90 if ticket.structure == "filters" else None,
        "filters": 90,
        "criterion_settings": SETTINGS | {"function": ticket.criterion},
        "architecture": architecture(ticket),
    }
    write_facts(root / paths.ticket_facts(ticket.folder), facts, config_hash="t")
    rows = [
        {"layer": "stage1.0", "stage": "stage1", "position": 1, "cka": 0.75, "images": 50},
        {"layer": "penultimate", "stage": None, "position": 10, "cka": 0.5 + ticket.seed / 4, "images": 50},
    ]
    write_table(root / paths.similarity(ticket.folder), pa.Table.from_pylist(rows), config_hash="compared")


def write_scores(root, scoring):
    blocks = [
        {"name": "stage1.0", "stage": "stage1", "removable": True, "raw": -2.0, "score": 2.0},
        {"name": "stage1.1", "stage": "stage1", "removable": True, "raw": 1.0, "score": -1.0},
        {"name": "stage2.0", "stage": "stage2", "removable": False, "raw": None, "score": None},
        {"name": "stage2.1", "stage": "stage2", "removable": True, "raw": 1.0, "score": 0.5},
    ]
    facts = {"settings": SETTINGS | {"function": scoring.criterion}, "blocks": blocks}
    write_facts(root / paths.scores(scoring.scored), facts, config_hash="s")


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    for run in ACCURACY:
        write_training(root, run)
        write_conditions(root, run)
    for dense in DENSE:
        write_profile(root, dense)
    for ticket in [*TICKETS, *RANDOM, *FILTERS]:
        write_ticket(root, ticket)
    for scoring in [*TICKETS, *RANDOM]:
        write_scores(root, scoring)
    return root
