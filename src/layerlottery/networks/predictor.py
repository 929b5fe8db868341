"""A network as attackers and users see it: images in [0, 1] in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerlottery.data.prepared import PreparedSet
from layerlottery.networks.weights import load_network


class Predictor(nn.Module):
    """Normalises (N, C, H, W) images in [0, 1] by the training split's mean and standard deviation, then predicts."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


def load_predictor(weights: Path, prepared: PreparedSet, device: torch.device) -> tuple[nn.Module, dict[str, Any]]:
    """A frozen predictor in eval mode on `device`, and the facts of its weights file."""
    network, facts = load_network(weights)
    predictor = Predictor(network, prepared.mean, prepared.std).to(device).to(memory_format=torch.channels_last)
    return predictor.eval().requires_grad_(False), facts
