"""EMA: the exponential moving average of a network's weights while it trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class AveragedWeights:
    """The average of all parameters and floating-point buffers, `held` by name; it begins with the network's own.

    Running statistics of BatchNorm are averaged as weights are, as in torchvision's and timm's trainings: those of the
    last weights would not fit the averaged ones. Counters stay the network's. What a dense network keeps for rewinding
    is not averaged: θi is a point of the training, from which a ticket goes on.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        live = dict(model.named_parameters()) | dict(model.named_buffers())
        self.live = {name: tensor for name, tensor in live.items() if tensor.is_floating_point()}
        self.held = {name: tensor.detach().clone() for name, tensor in self.live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step (from 0): a ← d·a + (1 - d)·θ, d = min(decay, (1 + step) / (10 + step)).

        The second term lets the average follow early steps, when the first weights would weigh too much (that of
        TensorFlow's ExponentialMovingAverage); it follows from the step's number, so resuming needs nothing more.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.held.values()), list(self.live.values()), 1 - decay)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The network with its averaged weights, in place, for as long as this lasts."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for name, tensor in self.live.items():
            kept = tensor.clone()
            tensor.copy_(self.held[name])
            self.held[name].copy_(kept)
