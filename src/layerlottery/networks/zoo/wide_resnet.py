"""Wide residual networks WRN-d-k: a stem of 16 channels, stages of 16k, 32k and 64k (Zagoruyko & Komodakis 2016)."""

from __future__ import annotations

from functools import partial

from torch import nn

from layerlottery.config.networks import WideResNetSettings
from layerlottery.networks.zoo.preact_resnet import PreactBlock, PreactNet

STEM = 16


def build(settings: WideResNetSettings, *, channels: int, classes: int, image_size: int | None) -> nn.Module:
    """Its weights do not depend on `image_size`."""
    wide = STEM * settings.widen
    block = partial(PreactBlock, shortcut="B", dropout=settings.dropout)
    widths = (STEM, wide, 2 * wide, 4 * wide)
    return PreactNet(block, widths, settings.blocks_per_stage, channels=channels, classes=classes)
