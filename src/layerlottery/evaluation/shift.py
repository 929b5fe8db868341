"""Stage shift: accuracy and calibration on the clean, the shifted and the corrupted test sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from layerlottery.data.prepared import PreparedSet, Split
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.calibration import calibration
from layerlottery.evaluation.conditions import Condition, write_conditions
from layerlottery.evaluation.forward import accuracy, evaluate_logits
from layerlottery.networks.predictor import load_predictor
from layerlottery.results import artifacts
from layerlottery.results.provenance import config_hash
from layerlottery.settings import ShiftSettings


class TestSet(NamedTuple):
    """Images with labels, and the row they fill."""

    kind: str
    name: str
    level: float
    split: Split


def shift(
    weights: Path,
    data: Path,
    corrupted_images: Path,
    corrupted_facts: Path,
    output: Path,
    settings: ShiftSettings,
    *,
    device: torch.device,
) -> None:
    """Evaluate one network on every test set and write a row for each.

    `data` is the facts file of a prepared set; both `corrupted_*` come from the corrupt stage. Raises
    LayerLotteryError when they were made from another set.
    """
    prepared = PreparedSet.open(data)
    corruptions = artifacts.read_facts(corrupted_facts)
    if corruptions.get("data") != prepared.content:
        raise LayerLotteryError(f"{corrupted_facts}: not made from the image set {data}; run the corrupt stage on it")
    model, facts = load_predictor(weights, prepared, device)
    rows = [
        evaluate(model, test, bins=settings.calibration_bins, device=device)
        for test in _test_sets(prepared, corrupted_images, corruptions)
    ]
    inputs = [facts["content"], prepared.content, corruptions["config_hash"], corruptions["array"]]
    write_conditions(output, rows, config_hash=config_hash("shift", settings, inputs))


def evaluate(model: nn.Module, test: TestSet, *, bins: int, device: torch.device) -> Condition:
    """One row: the model's accuracy and calibration on one test set."""
    logits = evaluate_logits(model, test.split.images, device)
    trust = calibration(logits, test.split.labels, bins)
    return Condition(
        kind=test.kind,
        name=test.name,
        level=test.level,
        accuracy=accuracy(logits, test.split.labels),
        images=len(test.split),
        nll=trust.nll,
        brier=trust.brier,
        ece=trust.ece,
    )


def _test_sets(prepared: PreparedSet, corrupted_images: Path, corruptions: Mapping[str, Any]) -> Iterator[TestSet]:
    clean = prepared.split("test")
    yield TestSet("clean", "clean", 0, clean)
    for name, split in prepared.shifted().items():
        yield TestSet("shift", name, 0, split)
    labels = clean.labels[corruptions["indices"]]
    array = artifacts.read_array(corrupted_images, corruptions["array"])
    for (name, severity), images in zip(corruptions["conditions"], array, strict=True):
        yield TestSet("corruption", name, severity, Split(images, labels))
