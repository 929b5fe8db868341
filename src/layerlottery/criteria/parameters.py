"""Which parameters of a block are scored, and how their values become one number."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from layerlottery.settings import CriterionSettings


def scored_parameters(block: nn.Module, settings: CriterionSettings) -> list[Tensor]:
    """A block's convolution weights, or all its parameters."""
    if settings.parameters == "all":
        return list(block.parameters())
    return [module.weight for module in block.modules() if isinstance(module, nn.Conv2d)]


def reduce(values: Tensor, reduction: str, *, dim: int) -> Tensor:
    """Sum or mean along one dimension."""
    return values.sum(dim) if reduction == "sum" else values.mean(dim)


def block_score(products: list[Tensor], settings: CriterionSettings) -> float:
    """One number for a block from the products of its parameters, added in float64."""
    values = torch.cat([product.detach().double().flatten() for product in products])
    if settings.products == "absolute":
        values = values.abs()
    return reduce(values, settings.reduction, dim=0).item()
