"""Criteria that look at nothing, or at weights alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from layerlottery.criteria.parameters import reduce
from layerlottery.networks.blocks import Block
from layerlottery.results.hashing import derived_seed
from layerlottery.settings import CriterionSettings


def random(
    model: nn.Module, blocks: list[Block], batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Uniform in [0, 1): the control that every criterion must beat."""
    generator = torch.Generator().manual_seed(derived_seed("random criterion", seed))
    drawn = torch.rand(len(blocks), generator=generator, dtype=torch.float64)
    return {block.name: value for block, value in zip(blocks, drawn.tolist(), strict=True)}


def l1(
    model: nn.Module, blocks: list[Block], batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Mean over a block's filters of each filter's absolute weights, summed or averaged (Li et al. 2017).

    Projections of a shortcut do not count; blocks that have one are never scored.
    """
    scores = {}
    for block in blocks:
        kernels = [
            module.weight for module in model.get_submodule(block.name).modules() if isinstance(module, nn.Conv2d)
        ]
        filters = [reduce(kernel.detach().double().abs().flatten(1), settings.reduction, dim=1) for kernel in kernels]
        scores[block.name] = torch.cat(filters).mean().item()
    return scores
