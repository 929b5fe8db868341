"""Criteria that look at nothing, or at weights alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from layerlottery.criteria.saliency import Saliency
from layerlottery.criteria.scoring import Scoring, criterion
from layerlottery.errors import LayerLotteryError
from layerlottery.store.hashing import derived_seed


@criterion(names={"random": {}}, scores=("layers", "filters", "weights"), needs="nothing", data_free=True)
def random(given: Scoring) -> dict[str, Any]:
    """Uniform in [0, 1): the control that every criterion must beat."""
    if given.structure == "layers":
        seed = torch.Generator().manual_seed(derived_seed("random criterion", given.seed))
        drawn = torch.rand(len(given.blocks), generator=seed, dtype=torch.float64)
        return {block.name: value for block, value in zip(given.blocks, drawn.tolist(), strict=True)}
    shapes: dict[str, Sequence[int]] = {coupling.layer: (coupling.filters,) for coupling in given.couplings}
    shapes = shapes or {name: weight.shape for name, weight in given.parameters().items()}
    generator = np.random.default_rng(derived_seed("random criterion", given.structure, given.seed))
    return {name: generator.random(shape) for name, shape in shapes.items()}


@criterion(names={"random_spread": {}}, needs="nothing", data_free=True)
def random_spread(given: Scoring) -> dict[str, float]:
    """Places, from 1, in a random order that takes one block of every stage in turn.

    Each round puts the stages in a new random order and takes a random remaining block of each. However many
    blocks go, the stages then lose equally many, or differ by one, as long as they have enough. This control
    tells what a criterion's choice of blocks adds to its choice of stages.
    """
    generator = torch.Generator().manual_seed(derived_seed("random_spread criterion", given.seed))
    left: dict[str, list[str]] = {}
    for block in given.blocks:
        left.setdefault(block.stage, []).append(block.name)
    order: list[str] = []
    while left:
        stages = list(left.values())
        for place in torch.randperm(len(stages), generator=generator).tolist():
            drawn = int(torch.randint(len(stages[place]), (), generator=generator))
            order.append(stages[place].pop(drawn))
        left = {stage: names for stage, names in left.items() if names}
    # the first in the order go first, whichever end of the score survives
    places = {name: given.settings.sign * float(place) for place, name in enumerate(order, start=1)}
    return {block.name: places[block.name] for block in given.blocks}


@criterion(names={}, needs="nothing", data_free=True)
def depths(given: Scoring) -> dict[str, float]:
    """The last blocks of each stage that may go, as many as `remove` says: an architecture, whatever the weights.

    Raises LayerLotteryError where a stage has too few such blocks, or the network other stages.
    """
    stages: dict[str, list[str]] = {}
    for block in given.blocks:
        stages.setdefault(block.stage, []).append(block.name)
    remove = given.settings.remove
    fits = len(remove) == len(stages) and all(n <= len(own) for n, own in zip(remove, stages.values(), strict=True))
    if not fits or min(remove) < 0:
        allowed = ", ".join(f"{name} 0 to {len(own)}" for name, own in stages.items())
        raise LayerLotteryError(f"remove: found {remove}; allowed: a number of blocks for each stage: {allowed}")
    gone = {name for count, own in zip(remove, stages.values(), strict=True) for name in own[len(own) - count :]}
    return {block.name: given.settings.sign * float(block.name not in gone) for block in given.blocks}


@criterion(names={"l1": {}, "magnitude": {}}, scores=("layers", "filters", "weights"), needs="weights", data_free=True)
def l1(given: Scoring) -> Saliency:
    """|θ|: a filter has their sum or mean, a block the mean over its filters (Li et al. 2017).

    A row of a fully connected layer is a filter. Single weights by it are magnitude pruning (Han et al. 2015).
    """
    weights = given.parameters(connecting=True)
    return Saliency({name: weight.detach().abs() for name, weight in weights.items()}, by_filter=True)
