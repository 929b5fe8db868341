"""A value for each single parameter, and how these become one for a block, a filter or a weight."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from layerlottery.networks.blocks import Block
from layerlottery.networks.filters import Coupling

Numbers = npt.NDArray[Any]

# by kind of layer, the names of its connecting weights
CONNECTING: dict[type[nn.Module], tuple[str, ...]] = {
    nn.modules.conv._ConvNd: ("weight",),
    nn.Linear: ("weight",),
    nn.MultiheadAttention: ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"),
}


def convolution_weights(model: nn.Module) -> dict[str, Tensor]:
    """Weights of all convolutions, projections included, by parameter name and in network order."""
    return {f"{name}.weight": module.weight for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


def connecting_weights(model: nn.Module, block: Block | None = None) -> dict[str, Tensor]:
    """Weights of a block's convolutions, fully connected layers and attention, by name; if none, all its matrices.

    Without a block, those of the network.
    """
    weights: dict[str, Tensor] = {}
    inside = block.name if block else ""
    for name, module in model.get_submodule(inside).named_modules(prefix=inside):
        held = next((names for kind, names in CONNECTING.items() if isinstance(module, kind)), ())
        prefix = f"{name}." if name else ""
        found = {f"{prefix}{one}": getattr(module, one) for one in held if getattr(module, one) is not None}
        # a hook of a user's own may compute the weight: what it is computed from has the gradient
        computed = any(not isinstance(one, nn.Parameter) for one in found.values())
        weights |= _matrices(module.named_parameters(prefix=name, recurse=False)) if computed else found
    # a module of a user's own may hold bare parameters
    return weights or _matrices(model.get_submodule(inside).named_parameters(prefix=inside))


def _matrices(parameters: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: one for name, one in parameters if sum(size > 1 for size in one.shape) > 1}


def all_parameters(model: nn.Module, block: Block) -> dict[str, Tensor]:
    """A block's parameters, by their names in the network."""
    return dict(model.get_submodule(block.name).named_parameters(prefix=block.name))


@dataclass(frozen=True)
class Saliency:
    """A value for each element of the parameters that are scored, by parameter name.

    A block's score is the sum or mean over all its elements or, `by_filter`, the mean of those over each filter.
    """

    values: dict[str, Tensor]
    by_filter: bool = False

    def of_block(self, names: Iterable[str], reduction: str) -> float:
        """One number for the named parameters of a block, added in float64."""
        values = [self.values[name].double() for name in names]
        if not values:
            # a block without weights, such as a pooling branch
            return 0.0
        if self.by_filter:
            return torch.cat([reduce(one.flatten(1), reduction, dim=1) for one in values]).mean().item()
        return reduce(torch.cat([one.flatten() for one in values]), reduction, dim=0).item()

    def of_filters(self, couplings: Sequence[Coupling], reduction: str) -> dict[str, Numbers]:
        """Numbers (filters,) of each coupling, by its layer: means over the filters that only go together."""
        filters = {
            name: reduce(values.double().flatten(1), reduction, dim=1).cpu().numpy()
            for name, values in self.values.items()
        }
        return {one.layer: np.mean([filters[f"{layer}.weight"] for layer in one.layers], axis=0) for one in couplings}

    def of_weights(self) -> dict[str, Numbers]:
        """The values themselves."""
        return {name: values.cpu().numpy() for name, values in self.values.items()}


def reduce(values: Tensor, reduction: str, *, dim: int) -> Tensor:
    """Sum or mean along one dimension."""
    return values.sum(dim) if reduction == "sum" else values.mean(dim)
