"""Networks of torchvision.models, and their trained weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from layerlottery.config.networks import TorchvisionSettings
from layerlottery.networks.zoo.draws import WithoutDraws
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


def published(settings: TorchvisionSettings, *, channels: int, image_size: int) -> tuple[str, dict[str, Tensor]]:
    """Name and state of torchvision's newest weights; downloaded, and checked by hash, unless its cache has them."""
    weights = models.get_model_weights(settings.name)["DEFAULT"]
    return str(weights), weights.get_state_dict(progress=False, check_hash=True, weights_only=True, map_location="cpu")


def converted(
    settings: TorchvisionSettings, state: dict[str, Tensor], *, classes: int | None, channels: int, image_size: int
) -> dict[str, Tensor]:
    """A state under the names that torchvision's modules have by now; as it is where it is no state of the network."""
    options = _sizes(settings.name, image_size) | settings.options
    with torch.random.fork_rng(devices=[]), WithoutDraws():
        model = models.get_model(settings.name, weights=None, num_classes=classes or 1, **options)
    try:
        # the modules know their older names themselves
        model.load_state_dict(state)
    except RuntimeError:
        return state
    held: dict[str, Tensor] = model.state_dict()
    return held


def _sizes(name: str, image_size: int | None) -> dict[str, Any]:
    """The argument that takes the images' side, of constructors that have one."""
    if name.startswith("vit_"):
        return {"image_size": image_size}
    return {"input_size": (image_size, image_size)} if name.startswith("maxvit_") else {}
