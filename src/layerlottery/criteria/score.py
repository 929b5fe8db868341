"""The stage `score`: one number per removable block of a network."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.criteria import activations, divergence, gradients, regression, similarity, weights
from layerlottery.criteria.ranking import Ranking, rank_once, rank_one_by_one
from layerlottery.data.batches import Normalizer
from layerlottery.data.prepared import PreparedSet, balanced_subset
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, find_blocks
from layerlottery.networks.weights import load_network
from layerlottery.results.artifacts import write_facts
from layerlottery.results.hashing import derived_seed
from layerlottery.results.provenance import config_hash
from layerlottery.settings import DATA_FREE, CriterionSettings

log = logging.getLogger(__name__)

Criterion = Callable[..., dict[str, float]]

FUNCTIONS: dict[str, Criterion] = {
    "random": weights.random,
    "random_spread": weights.random_spread,
    "l1": weights.l1,
    "snip": gradients.snip,
    "grasp": gradients.grasp,
    "synflow": gradients.synflow,
    "hrank": activations.hrank,
    "expectabs": activations.expectabs,
    "pls": regression.pls,
    "kl": divergence.kl,
    "cka": similarity.cka,
    "consensus": similarity.consensus,
}
# a draw looks at no network: removing a block does not change it
DRAWN = {"random", "random_spread"}


def score_blocks(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int = 0
) -> dict[str, float]:
    """The criterion's value of every removable block; `batch` is images (N, C, H, W) and labels (N,).

    The model is not changed. Raises when a value is not finite, naming the block, and when the function
    does not score blocks.
    """
    if settings.function not in FUNCTIONS:
        raise LayerLotteryError(f"function: {settings.function} scores no blocks; allowed are {', '.join(FUNCTIONS)}")
    scored = copy.deepcopy(model).train(settings.batchnorm == "train").requires_grad_(True)
    blocks = [block for block in find_blocks(scored) if block.removable]
    if not blocks:
        return {}
    values = FUNCTIONS[settings.function](scored, blocks, batch, settings, seed=seed)
    for name, value in values.items():
        if not math.isfinite(value):
            raise LayerLotteryError(f"block {name}: {settings.function} gave {value}; scores must be finite numbers")
    return values


def rank_blocks(
    model: nn.Module, batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int = 0
) -> Ranking:
    """Values and ranks of all removable blocks, scored once or, if `iterative`, again after every removal."""
    values = score_blocks(model, batch, settings, seed=seed)
    if not settings.iterative:
        return rank_once(values, keep=settings.keep)

    def evaluate(smaller: nn.Module) -> dict[str, float]:
        return {} if settings.function in DRAWN else score_blocks(smaller, batch, settings, seed=seed)

    return rank_one_by_one(model, values, evaluate, keep=settings.keep)


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


@dataclass(frozen=True)
class Scoring:
    """What every scoring starts from: a network, a batch, the seed of a draw, facts to record and their hash."""

    model: nn.Module
    batch: tuple[Tensor, Tensor]
    seed: int
    facts: dict[str, Any]
    made_by: str


def begin(
    weights: Path,
    data: Path,
    settings: CriterionSettings,
    *,
    seed: int,
    draw: int,
    device: torch.device,
    **structure: str,
) -> Scoring:
    """Load the network and the images that a draw of the criterion looks at."""
    prepared = PreparedSet.open(data)
    model, held = load_network(weights)
    chosen_by = derived_seed("draw", seed, draw) if draw else seed
    per_class = 0 if settings.function in DATA_FREE else settings.images_per_class
    batch = scoring_batch(prepared, per_class, seed=chosen_by, device=device)
    facts = {"settings": settings.model_dump(mode="json"), "images": len(batch[1])}
    made_by = config_hash("score", settings, [held["content"], prepared.content], seed=seed, draw=draw, **structure)
    return Scoring(model.to(device), batch, chosen_by, facts, made_by)


def score(
    weights: Path,
    data: Path,
    output: Path,
    settings: CriterionSettings,
    *,
    seed: int,
    draw: int = 0,
    device: torch.device,
) -> None:
    """Score the network in `weights` and write the facts file `output`.

    Draws above 0 choose other images and make other random choices for the same network.
    """
    given = begin(weights, data, settings, seed=seed, draw=draw, device=device)
    ranking = rank_blocks(given.model, given.batch, settings, seed=given.seed)
    if ranking.ties:
        log.info("%s: equal scores, ranked in network order: %s", settings.function, ", ".join(ranking.ties))
    rows = [_row(block, ranking) for block in find_blocks(given.model)]
    write_facts(output, given.facts | {"blocks": rows, "ties": ranking.ties}, config_hash=given.made_by)


def _row(block: Block, ranking: Ranking) -> dict[str, object]:
    values = {"raw": ranking.raw.get(block.name), "score": ranking.score.get(block.name)}
    return {"name": block.name, "stage": block.stage, "removable": block.removable, **values}
