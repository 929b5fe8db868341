"""Criteria that look at nothing, or at weights alone."""

from __future__ import annotations

import torch
from torch import nn

from layerlottery.config.criteria import CriterionSettings
from layerlottery.criteria.batches import Batches
from layerlottery.criteria.parameters import connecting_weights, reduce
from layerlottery.networks.blocks import Block
from layerlottery.store.hashing import derived_seed


def random(
    model: nn.Module, blocks: list[Block], batches: Batches, settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Uniform in [0, 1): the control that every criterion must beat."""
    generator = torch.Generator().manual_seed(derived_seed("random criterion", seed))
    drawn = torch.rand(len(blocks), generator=generator, dtype=torch.float64)
    return {block.name: value for block, value in zip(blocks, drawn.tolist(), strict=True)}


def random_spread(
    model: nn.Module, blocks: list[Block], batches: Batches, settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Places, from 1, in a random order that takes one block of every stage in turn.

    Each round puts the stages in a new random order and takes a random remaining block of each. However many
    blocks go, the stages then lose equally many, or differ by one, as long as they have enough. This control
    tells what a criterion's choice of blocks adds to its choice of stages.
    """
    generator = torch.Generator().manual_seed(derived_seed("random_spread criterion", seed))
    left: dict[str, list[str]] = {}
    for block in blocks:
        left.setdefault(block.stage, []).append(block.name)
    order: list[str] = []
    while left:
        stages = list(left.values())
        for place in torch.randperm(len(stages), generator=generator).tolist():
            drawn = int(torch.randint(len(stages[place]), (), generator=generator))
            order.append(stages[place].pop(drawn))
        left = {stage: names for stage, names in left.items() if names}
    # the first in the order go first, whichever end of the score survives
    sign = 1.0 if settings.keep == "high" else -1.0
    places = {name: sign * place for place, name in enumerate(order, start=1)}
    return {block.name: places[block.name] for block in blocks}


def l1(
    model: nn.Module, blocks: list[Block], batches: Batches, settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Mean over a block's filters of each filter's absolute weights, summed or averaged (Li et al. 2017).

    A row of a fully connected layer is a filter. 0 for a block without weights.
    """
    scores = {}
    for block in blocks:
        kernels = connecting_weights(model.get_submodule(block.name))
        filters = [reduce(kernel.detach().double().abs().flatten(1), settings.reduction, dim=1) for kernel in kernels]
        scores[block.name] = torch.cat(filters).mean().item() if filters else 0.0
    return scores
