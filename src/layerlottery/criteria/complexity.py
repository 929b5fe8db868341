"""Complexity-driven filter pruning at initialization (Zawish et al. 2022, arXiv 2208.12816)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import torch
from torch import nn

from layerlottery.criteria.batches import each
from layerlottery.criteria.saliency import Numbers, convolution_weights
from layerlottery.criteria.scoring import Scoring, criterion
from layerlottery.networks.copies import copied
from layerlottery.networks.features import captured
from layerlottery.networks.filters import Coupling
from layerlottery.store.hashing import derived_seed


@criterion(
    # it has no layer ticket of its own
    names={
        "complexity_parameters": {"share": "parameters", "budget": "snip"},
        "complexity_macs": {"share": "macs", "budget": "snip"},
        "complexity_memory": {"share": "memory", "budget": "snip"},
    },
    scores=("filters",),
    needs="nothing",
    data_free=True,
)
def complexity(given: Scoring) -> dict[str, Numbers]:
    """Places, from 1, of each coupling's filters in a random order of removal that follows the layers' costs."""
    image_shape = next(each(given.batches))[0].shape[1:]
    shares = layer_shares(given.model, given.couplings, image_shape, share=given.settings.share)
    places = removal_places([coupling.filters for coupling in given.couplings], shares, seed=given.seed)
    return {coupling.layer: place for coupling, place in zip(given.couplings, places, strict=True)}


def layer_shares(
    model: nn.Module, couplings: Sequence[Coupling], image_shape: tuple[int, ...], *, share: str
) -> Numbers:
    """Each coupling's share of all convolutions' parameters, MACs or memory (outputs), in [0, 1] and adding up to 1.

    `image_shape` is (channels, height, width).
    """
    weights, twin = convolution_weights(model), copied(model).eval()
    layers = [name.removesuffix(".weight") for name in weights]
    with captured(twin, layers) as maps, torch.no_grad():
        twin(next(model.parameters()).new_zeros(1, *image_shape))

    def cost(layer: str) -> int:
        weight, pixels = weights[f"{layer}.weight"], maps[layer].shape[2:].numel()
        return {"parameters": weight.numel(), "macs": weight.numel() * pixels, "memory": len(weight) * pixels}[share]

    costs = [sum(map(cost, coupling.layers)) for coupling in couplings]
    return np.array(costs) / sum(costs)


def removal_places(filters: Sequence[int], shares: Numbers, *, seed: int) -> list[Numbers]:
    """Places, from 1, of each layer's filters in a random order of removal.

    A layer is drawn with its share as probability, then one of its remaining filters uniformly. A layer with
    one filter left drops out; those last filters take the last places.
    """
    generator = np.random.default_rng(derived_seed("complexity criterion", seed))
    left = [list(generator.permutation(number)) for number in filters]
    places = [np.zeros(number) for number in filters]
    weights = np.where(np.array(filters) > 1, shares, 0.0)
    following = count(1)
    while weights.any():
        layer = int(generator.choice(len(filters), p=weights / weights.sum()))
        places[layer][left[layer].pop()] = next(following)
        if len(left[layer]) == 1:
            weights[layer] = 0.0
    for last, order in zip(places, left, strict=True):
        last[order[0]] = next(following)
    return places
