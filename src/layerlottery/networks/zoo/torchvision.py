"""Networks of torchvision.models, with random weights."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision import models

from layerlottery.config.networks import TorchvisionSettings
from layerlottery.networks.zoo.library import constructed
from layerlottery.networks.zoo.stems import SmallStem, take_channels

STEMS = {
    # resnet, resnext, wide_resnet
    "ResNet": SmallStem("conv1", kernel=3, pool="maxpool"),
    "MobileNetV2": SmallStem("features.0.0"),
    "MobileNetV3": SmallStem("features.0.0"),
    # the first version and the second
    "EfficientNet": SmallStem("features.0.0"),
    "MNASNet": SmallStem("layers.0"),
    "RegNet": SmallStem("stem.0"),
    # patches of 4x4 pixels
    "ConvNeXt": SmallStem("features.0.0", kernel=3),
}


def build(settings: TorchvisionSettings, *, channels: int, classes: int, image_size: int | None) -> nn.Module:
    """Raises LayerLotteryError for an unknown name, options that it does not take, and an unknown small stem."""
    options = _sizes(settings.name, image_size) | settings.options
    model = constructed(
        settings,
        "torchvision",
        known=models.list_models(module=models),
        stems=STEMS,
        make=lambda: models.get_model(settings.name, weights=None, num_classes=classes, **options),
    )
    take_channels(model, channels)
    return model


def _sizes(name: str, image_size: int | None) -> dict[str, Any]:
    """The argument that takes the images' side, of constructors that have one."""
    if name.startswith("vit_"):
        return {"image_size": image_size}
    return {"input_size": (image_size, image_size)} if name.startswith("maxvit_") else {}
