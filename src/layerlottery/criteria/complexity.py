"""Complexity-driven filter pruning at initialization (Zawish et al. 2022, arXiv 2208.12816)."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from layerlottery.networks.filters import Coupling
from layerlottery.store.hashing import derived_seed

Numbers = npt.NDArray[np.float64]


def layer_shares(
    model: nn.Module, couplings: Sequence[Coupling], image_shape: tuple[int, ...], *, share: str
) -> Numbers:
    """Each coupling's share of all convolutions' parameters, MACs or memory (outputs), in [0, 1] and adding up to 1.

    `image_shape` is (channels, height, width).
    """
    pixels = _output_pixels(model, image_shape)
    costs = []
    for coupling in couplings:
        cost = 0
        for layer in coupling.layers:
            weight = model.get_submodule(layer).weight
            assert isinstance(weight, torch.Tensor)
            cost += {
                "parameters": weight.numel(),
                "macs": weight.numel() * pixels[layer],
                "memory": len(weight) * pixels[layer],
            }[share]
        costs.append(cost)
    return np.array(costs) / sum(costs)


def _output_pixels(model: nn.Module, image_shape: tuple[int, ...]) -> dict[str, int]:
    twin = copy.deepcopy(model).eval()
    pixels: dict[str, int] = {}
    for name, module in twin.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda module, given, out, name=name: pixels.__setitem__(name, out.shape[2:].numel())
            )
    any_weight = next(model.parameters())
    with torch.no_grad():
        twin(any_weight.new_zeros(1, *image_shape))
    return pixels


def removal_places(filters: Sequence[int], shares: Numbers, *, seed: int) -> list[Numbers]:
    """Places, from 1, of each layer's filters in a random order of removal.

    A layer is drawn with its share as probability, then one of its remaining filters uniformly. A layer with
    one filter left drops out; those last filters take the last places.
    """
    generator = np.random.default_rng(derived_seed("complexity criterion", seed))
    left = [list(generator.permutation(count)) for count in filters]
    places = [np.zeros(count) for count in filters]
    weights = np.where(np.array(filters) > 1, shares, 0.0)
    place = 0
    while weights.any():
        layer = int(generator.choice(len(filters), p=weights / weights.sum()))
        place += 1
        places[layer][left[layer].pop()] = place
        if len(left[layer]) == 1:
            weights[layer] = 0.0
    for last, order in zip(places, left, strict=True):
        place += 1
        last[order[0]] = place
    return places
