"""EMA: the exponential moving average of a network's weights while it trains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """The average of all parameters and floating-point buffers, `held` by name; it begins with the network's own.

    Running statistics of BatchNorm are averaged as weights are, as in torchvision's and timm's trainings: those of the
    last weights would not fit the averaged ones. Counters stay the network's. What a dense network keeps for rewinding
    is not averaged: θi is a point of the training, from which a ticket goes on. Types narrower than float32 are
    averaged in it: a step of the average is so small that they would round it away.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        live = dict(model.named_parameters()) | dict(model.named_buffers())
        self.live = {name: tensor for name, tensor in live.items() if tensor.is_floating_point()}
        self.held = {name: _wide(tensor.detach()).clone() for name, tensor in self.live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step (from 0): a ← d·a + (1 - d)·θ, d = min(decay, (1 + step) / (10 + step)).

        The second term lets the average follow early steps, when the first weights would weigh too much (that of
        TensorFlow's ExponentialMovingAverage); it follows from the step's number, so resuming needs nothing more.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.held.values()), list(map(_wide, self.live.values())), 1 - decay)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The network with its averaged weights, in place, for as long as this lasts."""
        kept = {name: tensor.detach().clone() for name, tensor in self.live.items()}
        self._fill(self.held)
        try:
            yield
        finally:
            self._fill(kept)

    @torch.no_grad()
    def restart(self) -> None:
        """Begin again with the network's present weights."""
        for name, tensor in self.live.items():
            self.held[name].copy_(tensor)

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, tensor in self.live.items():
            tensor.copy_(values[name])


def _wide(tensor: Tensor) -> Tensor:
    """In float32 at least: the tensor itself, or a copy."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
