"""CIFAR ResNets."""

from __future__ import annotations

from torch import nn

from layerlottery.config.networks import NetworkSettings
from layerlottery.networks.resnet import CifarResNet


def build(settings: NetworkSettings, *, channels: int, classes: int, image_size: int | None) -> nn.Module:
    """Its weights do not depend on `image_size`."""
    return CifarResNet(settings, channels=channels, classes=classes)
