"""The stage `score`: one number per removable block of a network."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.config.criteria import DATA_FREE, CriterionSettings
from layerlottery.config.networks import MINIMUM_PER_STAGE, ResidualSettings
from layerlottery.config.provenance import config_hash
from layerlottery.criteria import activations, divergence, gradients, regression, similarity, weights
from layerlottery.criteria.batches import Batch, Batches, each
from layerlottery.criteria.own import own_scores
from layerlottery.criteria.ranking import Ranking, rank_once, rank_one_by_one
from layerlottery.data.batches import Normalizer
from layerlottery.data.prepared import PreparedSet, balanced_subset
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, remove_blocks, residual_blocks
from layerlottery.networks.examples import device_of, unwrapped
from layerlottery.networks.predictor import fold
from layerlottery.networks.resnet import BasicBlock, CifarResNet, PaddedShortcut, ProjectedShortcut
from layerlottery.networks.weights import load_network, network_settings
from layerlottery.store.artifacts import write_facts
from layerlottery.store.hashing import derived_seed

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
# these look at what the network puts out, not at its weights
FORWARD = {"hrank", "expectabs", "pls", "kl", "cka", "consensus"}
# all that CIFAR ResNets are made of: in these, BatchNorm is known to follow its convolution
PLAIN = {CifarResNet, BasicBlock, PaddedShortcut, ProjectedShortcut, nn.Sequential, nn.Identity}
PLAIN |= {nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Linear}
# a draw looks at no network: removing a block does not change it
DRAWN = {"random", "random_spread"}


def score_blocks(
    model: nn.Module,
    batches: Batches,
    settings: CriterionSettings,
    *,
    seed: int = 0,
    blocks: Sequence[Block] | None = None,
) -> dict[str, float]:
    """The criterion's value of every removable block; a batch is images (N, C, H, W) and labels (N,).

    `blocks` are the network's, by default those that the paper may remove. The model is not changed, nor are random
    states. Raises when a value is not finite, naming the block, and when the function does not score blocks.
    """
    if not settings.is_own and settings.function not in FUNCTIONS:
        raise LayerLotteryError(f"function: {settings.function} scores no blocks; allowed are {', '.join(FUNCTIONS)}")
    scored = scoring_copy(model, settings)
    known = blocks if blocks is not None else paper_blocks(scored, batches)
    removable = [block for block in known if block.removable]
    if not removable:
        return {}
    if settings.function in FORWARD:
        scored = _faster(scored)
    devices = [device_of(scored)] if device_of(scored).type == "cuda" else []
    with torch.random.fork_rng(devices), torch.compiler.set_stance("force_eager"):
        torch.manual_seed(derived_seed("scoring", seed))
        criterion = own_scores if settings.is_own else FUNCTIONS[settings.function]
        values = criterion(scored, removable, batches, settings, seed=seed)
    for name, value in values.items():
        if not math.isfinite(value):
            raise LayerLotteryError(f"block {name}: {settings.function} gave {value}; scores must be finite numbers")
    return values


def scoring_copy(model: nn.Module, settings: CriterionSettings) -> nn.Module:
    """A copy that computes what is scored: nothing random, BatchNorm with batch or running statistics."""
    scored = copy.deepcopy(unwrapped(model)).eval().requires_grad_(True)
    for module in scored.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train(settings.batchnorm == "train")
    return scored


def _faster(model: nn.Module) -> nn.Module:
    """A network that puts out the same up to rounding in less time: BatchNorm folded, maps in channels_last.

    The model itself where BatchNorm takes batch statistics, on a GPU, in double precision, and where anything but a
    CIFAR ResNet's own layers computes in it.
    """
    kinds = {(parameter.dtype, parameter.device.type) for parameter in model.parameters()}
    if kinds != {(torch.float32, "cpu")} or not all(map(_plain, model.modules())):
        return model
    return fold(model).to(memory_format=torch.channels_last) if isinstance(model, CifarResNet) else model


def _plain(module: nn.Module) -> bool:
    """Whether it computes what its class says, in a CIFAR ResNet in eval mode with running statistics."""
    changed = module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module) or module.training
    counted = not isinstance(module, nn.BatchNorm2d) or module.running_mean is not None
    return type(module) in PLAIN and not changed and counted


def paper_blocks(model: nn.Module, batches: Batches) -> list[Block]:
    """All residual blocks; the first of each stage stays (Jordao et al. 2023, section 3)."""
    images = next(each(batches))[0]
    # data-free criteria come with a batch of no images
    example = images if len(images) else images.new_zeros(2, *images.shape[1:])
    return residual_blocks(model, example, keep_first=True)


def rank_blocks(
    model: nn.Module,
    batches: Batches,
    settings: CriterionSettings,
    *,
    seed: int = 0,
    blocks: Sequence[Block] | None = None,
    minimum: int = MINIMUM_PER_STAGE,
) -> Ranking:
    """Values and ranks of all removable blocks, scored once or, if `iterative`, again after every removal."""
    known = blocks if blocks is not None else paper_blocks(model, batches)
    values = score_blocks(model, batches, settings, seed=seed, blocks=known)
    if not settings.iterative:
        return rank_once(values, keep=settings.keep)
    removals = {block.name: block.removal for block in known}

    def evaluate(gone: list[str]) -> dict[str, float]:
        if settings.function in DRAWN:
            return {}
        left = [block for block in known if block.name not in gone]
        return score_blocks(remove_blocks(model, gone, removals), batches, settings, seed=seed, blocks=left)

    return rank_one_by_one(known, values, evaluate, keep=settings.keep, minimum=minimum)


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
    network: ResidualSettings
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
    network = network_settings(held["architecture"])
    return Scoring(model.to(device), network, batch, chosen_by, facts, made_by)


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
    images = given.batch[0]
    example = images if len(images) else images.new_zeros(2, *images.shape[1:])
    blocks = residual_blocks(given.model, example, keep_first=given.network.keep_first)
    batches = _in_batches(given.batch, settings)
    ranking = rank_blocks(given.model, batches, settings, seed=given.seed, blocks=blocks, minimum=given.network.minimum)
    if ranking.ties:
        log.info("%s: equal scores, ranked in network order: %s", settings.function, ", ".join(ranking.ties))
    facts = given.facts | {"blocks": [_row(block, ranking) for block in blocks], "ties": ranking.ties}
    if given.network.minimum != MINIMUM_PER_STAGE:
        facts["minimum"] = given.network.minimum
    write_facts(output, facts, config_hash=given.made_by)


def _in_batches(batch: Batch, settings: CriterionSettings) -> Batches:
    """The same images, no more at a time than the settings allow."""
    if settings.batch_size is None or settings.batch_size >= len(batch[1]):
        return batch
    return list(zip(*(one.split(settings.batch_size) for one in batch), strict=True))


def _row(block: Block, ranking: Ranking) -> dict[str, object]:
    row: dict[str, object] = {"name": block.name, "stage": block.stage, "removable": block.removable}
    row |= {"raw": ranking.raw.get(block.name), "score": ranking.score.get(block.name)}
    return row if block.removal.trivial else row | {"removal": block.removal.facts()}
