"""The layers that give a network's logits, drawn anew: a network whose last layer is zero has no gradient before it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from layerlottery.networks.copies import copied
from layerlottery.networks.examples import evaluating
from layerlottery.networks.features import classifiers
from layerlottery.store.hashing import derived_seed

# Touvron et al. (2021)
CLASSIFIER_DEVIATION = 0.02


def with_random_head(model: nn.Module, example: Any, *, seed: int) -> nn.Module:
    """A copy whose last layers have random weights, normal with a deviation of 0.02, and no bias."""
    network = copied(model)
    with evaluating(network):
        heads = classifiers(network, example)
    draw = torch.Generator().manual_seed(derived_seed("random head", seed))
    with torch.no_grad():
        for parameter in (one for head in heads for one in head.parameters(recurse=False)):
            matrix = sum(size > 1 for size in parameter.shape) > 1
            values = torch.randn(parameter.shape, generator=draw) if matrix else torch.zeros(parameter.shape)
            parameter.copy_(CLASSIFIER_DEVIATION * values)
    return network


def zero_heads(model: nn.Module, example: Any) -> bool:
    """Whether all weights of the layers that give the logits are zero."""
    heads = classifiers(copied(model).eval(), example)
    return not any(one.any() for head in heads for one in head.parameters(recurse=False) if one.dim() > 1)
