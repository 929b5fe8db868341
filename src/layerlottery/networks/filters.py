"""Convolution filters that only go together, and networks that are smaller by some of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.copies import copied

# the attributes that repeat the first dimensions of a weight
SIZES: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Conv2d: ("out_channels", "in_channels"),
    nn.BatchNorm2d: ("num_features",),
    nn.Linear: ("out_features", "in_features"),
}


@dataclass(frozen=True)
class Coupling:
    """Convolutions, in network order, whose filters of equal index go together, and how many each has.

    A block's inner convolution stands alone; residual additions couple those that write into them.
    """

    layers: tuple[str, ...]
    filters: int

    @property
    def layer(self) -> str:
        """The first convolution, which names the set."""
        return self.layers[0]


def find_couplings(model: nn.Module) -> list[Coupling]:
    """Every convolution of the network in exactly one coupling, by Torch-Pruning's dependency graph.

    Raises where an addition joins convolutions of unequal width, as a zero-padding shortcut lets it.
    """
    twin = copied(model).eval().requires_grad_(True)
    graph, names = _dependencies(twin), {module: name for name, module in twin.named_modules()}
    found: list[Coupling] = []
    for name, module in twin.named_modules():
        if isinstance(module, nn.Conv2d) and all(name not in coupling.layers for coupling in found):
            found.append(_coupling(graph, module, names))
    return found


def _dependencies(model: nn.Module) -> Any:
    import torch_pruning

    stem = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    images = torch.zeros(1, stem.in_channels, 8, 8, device=stem.weight.device, dtype=stem.weight.dtype)
    return torch_pruning.DependencyGraph().build_dependency(model, images)


def _group(graph: Any, convolution: nn.Conv2d, indices: Collection[int]) -> Any:
    import torch_pruning

    return graph.get_pruning_group(convolution, torch_pruning.prune_conv_out_channels, list(indices))


def _coupling(graph: Any, first: nn.Conv2d, names: Mapping[nn.Module, str]) -> Coupling:
    filters, coupled = first.out_channels, set()
    for dependency, indices in _group(graph, first, range(filters)):
        module = dependency.target.module
        # the group also holds the layers that read these channels, and the additions between
        if isinstance(module, nn.Conv2d) and graph.is_out_channel_pruning_fn(dependency.handler):
            coupled.add(names[module])
            if module.out_channels != filters or list(indices) != list(range(filters)):
                raise LayerLotteryError(
                    f"structure filters: an addition joins {names[first]} of {filters} filters and {names[module]} of "
                    f"{module.out_channels}; allowed: equal widths, as projections make them (shortcut B)"
                )
    return Coupling(tuple(name for name in names.values() if name in coupled), filters)


def remove_filters(model: nn.Module, gone: Mapping[str, Collection[int]]) -> nn.Module:
    """A smaller copy without the filters `gone`: indices by a coupling's first convolution.

    Coupled filters, BatchNorm channels and the input channels of the layers that follow go with them; all
    other weights keep their values. Raises where a coupling is unknown or would lose all its filters.
    """
    couplings = {coupling.layer: coupling for coupling in find_couplings(model)}
    small = copied(model).eval()
    graph = _dependencies(small)
    for layer, indices in gone.items():
        if layer not in couplings:
            raise LayerLotteryError(f"filters of {layer!r} can't be removed; allowed: {', '.join(couplings)}")
        width = couplings[layer].filters
        if not set(indices) < set(range(width)):
            raise LayerLotteryError(f"{layer}: can't lose filters {sorted(indices)}; it has {width}, and one stays")
        if indices:
            convolution = small.get_submodule(layer)
            assert isinstance(convolution, nn.Conv2d)
            _group(graph, convolution, sorted(indices)).prune()
    return small.train(model.training)


def cut_shapes(dense: nn.Module, small: nn.Module) -> dict[str, list[int]]:
    """Shapes of the weights that differ between two networks of the same modules, by module name."""
    before = dict(dense.named_parameters())
    return {
        name.removesuffix(".weight"): list(parameter.shape)
        for name, parameter in small.named_parameters()
        if name.endswith(".weight") and parameter.shape != before[name].shape
    }


def cut(model: nn.Module, shapes: Mapping[str, Collection[int]]) -> None:
    """Shrink the named modules in place to weights of the given shapes; the values left are arbitrary."""
    for name, shape in shapes.items():
        _cut_module(model.get_submodule(name), tuple(shape))


def _cut_module(module: nn.Module, shape: tuple[int, ...]) -> None:
    def corner(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach()[tuple(slice(size) for size in shape[: tensor.dim()])].clone()

    for name, parameter in list(module.named_parameters(recurse=False)):
        setattr(module, name, nn.Parameter(corner(parameter)))
    for name, buffer in list(module.named_buffers(recurse=False)):
        setattr(module, name, corner(buffer) if buffer.dim() else buffer)
    for attribute, size in zip(SIZES[type(module)], shape, strict=False):
        setattr(module, attribute, size)
