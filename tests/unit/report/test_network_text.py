"""One network as text: every figure with its unit, and a dash for what is not known."""

import re

import pytest
from tests.unit.hostile import TEXT, worse
from tests.unit.test_escaping import steers

from layerlottery.report.network import network_text
from layerlottery.words import ABSENT, MINUS

SEGMENT = {
    "seconds": 90.0,
    "kwh": 0.0025,
    "power_source": "gpu 0 whole device",
    "started": "2030-01-02T03:04:05Z",
    "ended": "2030-01-02T03:05:35Z",
    "host": "node9",
    "slurm_job_id": "41_7",
    "slurm_restarts": 2,
}
# the only key that a description can lack is what an older version's training did not write
NEWER = ("started", "ended", "host", "slurm_job_id", "slurm_restarts")
PARTS = {"kwh": 0.0025, "cpu_kwh": 0.0005, "gpu_kwh": 0.002, "ram_kwh": 0.0}
BLOCK = {"stage": "stage1", "removable": True, "fate": "kept"}


@pytest.fixture
def description():
    return {
        "identity": {
            "dataset": "digits",
            "network": "resnet20",
            "seed": 3,
            "structure": "layers",
            "criterion": "l1",
            "draw": 1,
            "scored_at": "init",
            "removed": 1,
            "rewind": "2",
            "recipe": "default-1a2b3c4d",
            "step": 0,
            "round": 1,
            "folder": "results/[red]here",
        },
        "result": {
            "accuracy": 97.5,
            "dense_accuracy": 98.0,
            "delta_accuracy": -0.5,
            "start_epoch": 2,
            "epochs": 5,
            "train_images": 100,
            "train_seconds": 90.0,
            "images_per_second": 5.5556,
        },
        "removal": {
            "removed_blocks": ["stage1.1"],
            "tied": 1,
            "budget": None,
            "left": {},
            "settings": {"function": "l1", "budget": None},
            "scores": [BLOCK | {"name": "stage1.2", "score": -1.5, "raw": 1.5}],
        },
        "cost": {
            "params": 272_474,
            "params_reduction": 12.5,
            "macs": 40_800_000,
            "macs_reduction": 25.0,
            "memory_bytes": 2_500_000_000,
            "memory_reduction": -1.0,
            "filters": 784,
            "latency_ms": 2.5,
            "latency_speedup": 1.25,
            "latency_batch": 8,
            "latency_threads": 1,
        },
        "training": PARTS | {"segments": [SEGMENT, SEGMENT]},
        "provenance": {"config_hash": 64 * "a", "git_commit": None, "torch_version": "2.1"},
        "evaluation": [
            {"kind": "clean", "name": "clean", "level": 0.0, "accuracy": 97.5},
            {"kind": "corruption", "name": "contrast", "level": 3.0, "accuracy": 80.0},
            {"kind": "attack", "name": "fgsm", "level": 0.0, "accuracy": 96.0},
            {"kind": "attack", "name": "fgsm", "level": 0.5, "accuracy": 50.0},
            {"kind": "transfer", "name": "pgd", "level": 0.0, "accuracy": 96.0},
            {"kind": "transfer", "name": "pgd", "level": 0.5, "accuracy": 70.0},
            {"kind": "minimum_norm", "name": "fmn_l2", "level": 0.0, "accuracy": 96.0, "norm": 12.5},
            {"kind": "minimum_norm", "name": "deepfool", "level": 0.0, "accuracy": 96.0},
        ],
        "detection": [
            {"distance": "near", "outliers": "shuffled", "score": "msp", "auroc": 0.75, "fpr95": 0.5},
            {"distance": "near", "outliers": "shuffled", "score": "energy", "auroc": 0.875, "fpr95": 0.25},
            {"distance": "far", "outliers": "photographs", "score": "msp", "auroc": None, "fpr95": None},
        ],
        "similarity": [
            {"layer": "stage1.0", "cka": 0.5},
            {"layer": "stage2.0", "cka": None},
            {"layer": "penultimate", "cka": 0.75},
        ],
        "files": [
            {"file": "curve.parquet", "state": "damaged", "reason": "it is empty"},
            {"file": "training.json", "state": "intact", "reason": None},
        ],
    }


def lines(description, width=120):
    return [re.sub(r"[ \u00a0]+", " ", line).strip() for line in network_text(description, width=width).splitlines()]


@pytest.mark.parametrize(
    "line",
    [
        "name l1 (rewind 2), 1 removed, draw 1, seed 3, resnet20 on digits",
        "ticket layers, 1 block removed, scored by l1 (init, draw 1), trained from θ2",
        "folder results/[red]here",
        "accuracy 97.5 %",
        "dense network 98.0 %",
        f"difference {MINUS}0.50 percentage points",
        "trained 5 epochs after the first 2, 100 images, 6 images/s",
        "blocks stage1.1",
        "ties 1 kept with the score of a removed one",
        "criterion function l1",
        "stage1.2 -1.5 1.5 kept",
        "parameters 272 k, 12.5 % less than the dense network",
        "MACs 40.8 M, 25.0 % less than the dense network",
        f"memory 2.5 GB, {MINUS}1.0 % less than the dense network",
        "latency 2.5 ms for 8 images, 1.25\u00d7 the dense network's speed",
        "time 3.0 min",
        "energy 2.5 Wh: CPU 500 mWh, GPU 2 Wh, RAM 0 µWh",
        "measured by gpu 0 whole device",
        "2030-01-02 03:04:05 2030-01-02 03:05:35 node9 41_7 (requeued 2\u00d7) 1.5 min 2.5 Wh",
        f"config hash {64 * 'a'}",
        f"git commit {ABSENT}",
        "torch 2.1",
        "clean 97.5 %",
        "contrast 3: 80.0 %",
        "fgsm 0: 96.0, 0.5: 50.0 %",
        "transferred pgd 0: 96.0, 0.5: 70.0 %",
        "minimum norm, fmn l2 median 12.50/255",
        "minimum norm, deepfool more than half can't be fooled",
        "near, shuffled AUROC msp 0.750 (FPR95 0.500), energy 0.875 (FPR95 0.250)",
        f"far, photographs {ABSENT}",
        "CKA to dense stage1.0 0.500, penultimate 0.750",
        "curve.parquet damaged: it is empty",
        "training.json intact",
    ],
)
def test_every_figure_has_its_line(description, line):
    assert line in lines(description)


def test_every_segment_has_a_row(description):
    assert sum("node9" in line for line in lines(description)) == 2


def test_segments_of_an_older_version_have_dashes(description):
    old = {name: value for name, value in SEGMENT.items() if name not in NEWER}
    description["training"]["segments"] = [old]
    assert f"{ABSENT} {ABSENT} {ABSENT} {ABSENT} 1.5 min 2.5 Wh" in lines(description, width=80)


def test_what_is_not_there_yet_is_a_dash(description):
    description |= {"cost": None, "evaluation": [], "detection": [], "similarity": []}
    description |= {"training": PARTS | {"segments": []}}
    description["result"] |= dict.fromkeys(["accuracy", "delta_accuracy", "epochs"])
    description["removal"] |= {"removed_blocks": None, "tied": None, "settings": None, "scores": []}
    text = "\n".join(lines(description))
    assert all(f"{section}\n{ABSENT}\n" in text for section in ("cost", "training", "evaluation"))
    assert all(f"{name} {ABSENT}\n" in text for name in ("accuracy", "difference", "trained", "blocks", "criterion"))


def test_a_narrow_terminal_folds_and_drops_nothing(description):
    wide, narrow = (re.sub(r"\s+", "", network_text(description, width=width)) for width in (200, 80))
    assert sorted(wide) == sorted(narrow)
    assert max(map(len, network_text(description, width=80).splitlines())) <= 80


def test_hostile_facts_steer_no_terminal_and_fill_no_screen(description):
    description = worse(description)
    description["identity"]["dataset"] = "d" * 1_000_000
    description["removal"]["left"] = {TEXT: TEXT}
    text = network_text(description, width=80)
    assert not steers(text)
    assert "<img" in text
    assert "more characters" in text
    assert len(text) < 500_000
