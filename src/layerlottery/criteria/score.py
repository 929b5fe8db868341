"""The stage `score`: one number per removable block of a network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from layerlottery.criteria import gradients, weights
from layerlottery.data.batches import Normalizer
from layerlottery.data.prepared import PreparedSet, balanced_subset
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, find_blocks
from layerlottery.networks.weights import load_network
from layerlottery.results.artifacts import write_facts
from layerlottery.results.hashing import derived_seed
from layerlottery.results.provenance import config_hash
from layerlottery.settings import CriterionSettings

Criterion = Callable[..., dict[str, float]]

FUNCTIONS: dict[str, Criterion] = {
    "random": weights.random,
    "l1": weights.l1,
    "snip": gradients.snip,
    "grasp": gradients.grasp,
}
DATA_FREE = {"random", "l1"}


def score_blocks(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int = 0
) -> dict[str, float]:
    """The criterion's value of every removable block; `batch` is images (N, C, H, W) and labels (N,).

    The model is not changed. Raises when a value is not finite, naming the block.
    """
    scored = copy.deepcopy(model).train(settings.batchnorm == "train").requires_grad_(True)
    blocks = [block for block in find_blocks(scored) if block.removable]
    values = FUNCTIONS[settings.function](scored, blocks, batch, settings, seed=seed)
    for name, value in values.items():
        if not math.isfinite(value):
            raise LayerLotteryError(f"block {name}: {settings.function} gave {value}; scores must be finite numbers")
    return values


def scoring_batch(prepared: PreparedSet, per_class: int, *, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """`per_class` training images of each class, normalised, not augmented; the seed chooses them."""
    train = prepared.split("train")
    wanted = per_class * len(prepared.classes)
    normalize = Normalizer(prepared.mean, prepared.std, device=device, channels_last=False)
    if not wanted:
        return normalize(torch.from_numpy(train.images[:0])), torch.from_numpy(train.labels[:0]).to(device)
    if wanted > len(train.labels):
        most = len(train.labels) // len(prepared.classes)
        raise LayerLotteryError(f"images_per_class: found {per_class}; this training set gives at most {most}")
    chosen = balanced_subset(train.labels, wanted, derived_seed("scoring batch", seed))
    return normalize(torch.from_numpy(train.images[chosen])), torch.from_numpy(train.labels[chosen]).to(device)


def score(
    weights: Path, data: Path, output: Path, settings: CriterionSettings, *, seed: int, device: torch.device
) -> None:
    """Score the network in `weights` and write the facts file `output`."""
    prepared = PreparedSet.open(data)
    model, facts = load_network(weights)
    per_class = 0 if settings.function in DATA_FREE else settings.images_per_class
    batch = scoring_batch(prepared, per_class, seed=seed, device=device)
    values = score_blocks(model.to(device), batch, settings, seed=seed)
    made_by = config_hash("score", settings, [facts["content"], prepared.content], seed=seed)
    rows = [_row(block, values, settings) for block in find_blocks(model)]
    record = {"settings": settings.model_dump(mode="json"), "images": len(batch[1]), "blocks": rows}
    write_facts(output, record, config_hash=made_by)


def _row(block: Block, values: dict[str, float], settings: CriterionSettings) -> dict[str, object]:
    raw = values.get(block.name)
    score = raw if raw is None or settings.keep == "high" else -raw
    return {"name": block.name, "stage": block.stage, "removable": block.removable, "raw": raw, "score": score}
