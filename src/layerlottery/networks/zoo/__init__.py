"""Networks of every family: a module for each, called as the settings' key `family`, with one function `build`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from layerlottery.config.networks import Network


def construct(settings: Network, *, channels: int, classes: int, image_size: int | None = None) -> nn.Module:
    """A network of the settings' family: images (N, channels, side, side) to logits (N, classes).

    `image_size` is the side in pixels, for families whose weights depend on it. Nothing is downloaded. The
    weights are those that the constructor draws from the global random state. Raises LayerLotteryError for
    what the family does not have, or can't do at this size.
    """
    model: nn.Module = family_of(settings).build(settings, channels=channels, classes=classes, image_size=image_size)
    return model


def family_of(settings: Network) -> Any:
    """The module of a network's family: what torchvision and timm take to import is paid by their networks alone.

    Those of libraries have `published` and `converted` beside `build`: trained weights, see networks/pretrained.py.
    """
    return import_module(f"{__name__}.{settings.family}")
