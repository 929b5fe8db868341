"""CIFAR ResNets with pre-activation: three stages of n blocks (He et al. 2016b)."""

from __future__ import annotations

from torch import nn

from layerlottery.config.networks import PreactResNetSettings
from layerlottery.networks.zoo.preact import PreactNet


def build(settings: PreactResNetSettings, *, channels: int, classes: int, image_size: int | None) -> nn.Module:
    """Its weights do not depend on `image_size`."""
    width = settings.width
    return PreactNet(
        (width, width, 2 * width, 4 * width),
        settings.blocks_per_stage,
        channels=channels,
        classes=classes,
        shortcut=settings.shortcut,
    )
