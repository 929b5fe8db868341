"""Which parameters of a block are scored, and how their values become one number."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from layerlottery.config.criteria import CriterionSettings

CONNECTING = (nn.modules.conv._ConvNd, nn.Linear)


def scored_parameters(block: nn.Module, settings: CriterionSettings) -> list[Tensor]:
    """A block's connecting weights, or all its parameters."""
    return list(block.parameters()) if settings.parameters == "all" else connecting_weights(block)


def connecting_weights(block: nn.Module) -> list[Tensor]:
    """Weights of convolutions, of fully connected layers and of attention; where there are none, all matrices."""
    found: list[Tensor] = []
    for module in block.modules():
        if isinstance(module, CONNECTING):
            found.append(module.weight)
        elif isinstance(module, nn.MultiheadAttention):
            projections = (module.in_proj_weight, module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
            found += [weight for weight in projections if weight is not None]
    # a module of a user's own may hold bare parameters
    return found or [one for one in block.parameters() if sum(size > 1 for size in one.shape) > 1]


def reduce(values: Tensor, reduction: str, *, dim: int) -> Tensor:
    """Sum or mean along one dimension."""
    return values.sum(dim) if reduction == "sum" else values.mean(dim)


def block_score(products: list[Tensor], settings: CriterionSettings) -> float:
    """One number for a block from the products of its parameters, added in float64."""
    if not products:
        # a block without weights, such as a pooling branch
        return 0.0
    values = torch.cat([product.detach().double().flatten() for product in products])
    if settings.products == "absolute":
        values = values.abs()
    return reduce(values, settings.reduction, dim=0).item()
