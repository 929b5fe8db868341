"""Masks, convolutions some of whose weights are held at zero, and other weights that are computed from others."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.prune import BasePruningMethod, remove
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from layerlottery.networks.copies import copied


class Mask(nn.Module):
    """Weights where `mask` (bool, of their shape) is false read as zero, and get no gradient."""

    mask: Tensor

    def __init__(self, shape: torch.Size, left: int) -> None:
        super().__init__()
        # which weights stay comes with the state; until then the first `left` do, so that counts are right
        self.register_buffer("mask", (torch.arange(math.prod(shape)) < left).view(shape))

    def forward(self, weight: Tensor) -> Tensor:
        return torch.where(self.mask, weight, 0.0)


def add_masks(model: nn.Module, masked: Mapping[str, int]) -> None:
    """Give each named convolution a mask with so many weights left, in place.

    The convolution stays an ordinary nn.Conv2d to all who use it; its state holds
    `parametrizations.weight.original` and `parametrizations.weight.0.mask` in place of `weight`.
    """
    for name, left in masked.items():
        convolution = model.get_submodule(name)
        weight = convolution.weight
        assert isinstance(weight, Tensor)
        parametrize.register_parametrization(convolution, "weight", Mask(weight.shape, left))


def masked_weights(model: nn.Module) -> int:
    """How many weights the masks hold at zero."""
    return sum(int((~module.mask).sum()) for module in model.modules() if isinstance(module, Mask))


def fold_masks(model: nn.Module) -> nn.Module:
    """A copy whose masked weights are plain zeros: the same function, at the dense network's cost."""
    folded = copied(model)
    for module in folded.modules():
        if isinstance(module, nn.Conv2d) and parametrize.is_parametrized(module, "weight"):
            _write_parametrized(module)
    return folded


def write_weights(model: nn.Module) -> None:
    """Turn all weights that modules compute from others into plain parameters of the same values, in place.

    Others are those of torch's parametrizations, of its older weight_norm and spectral_norm, and of its pruning.
    """
    for module in list(model.modules()):
        if parametrize.is_parametrized(module):
            _write_parametrized(module)
        for hook in list(module._forward_pre_hooks.values()):
            if isinstance(hook, BasePruningMethod):
                remove(module, hook._tensor_name)
            elif isinstance(hook, WeightNorm):
                remove_weight_norm(module, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(module, hook.name)


def _write_parametrized(module: nn.Module) -> None:
    held = module.parametrizations
    assert isinstance(held, nn.ModuleDict)
    values = {name: getattr(module, name).detach().clone() for name in held}
    trained = {name for name in held if [*held[name].parameters(recurse=False)]}
    # not by remove_parametrizations: copies share their class, and it would take the original's weights away
    module.__class__ = parametrize.type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        if name in trained:
            module.register_parameter(name, nn.Parameter(value))
        else:
            module.register_buffer(name, value)
