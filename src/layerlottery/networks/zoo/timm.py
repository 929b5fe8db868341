"""Networks of timm (an optional dependency), with random weights."""

from __future__ import annotations

import importlib

from torch import nn

from layerlottery.config.networks import TimmSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.zoo.library import constructed
from layerlottery.networks.zoo.stems import SmallStem

STEMS = {
    "ResNet": SmallStem("conv1", kernel=3, pool="maxpool"),
    "EfficientNet": SmallStem("conv_stem"),
    "MobileNetV3": SmallStem("conv_stem"),
    "RegNet": SmallStem("stem.conv"),
    "ConvNeXt": SmallStem("stem.0", kernel=3),
}


def build(settings: TimmSettings, *, channels: int, classes: int, image_size: int | None) -> nn.Module:
    """Raises LayerLotteryError without timm, and as the networks of torchvision do."""
    try:
        timm = importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise LayerLotteryError(
            "networks: family timm needs the package timm, which is not installed; it comes with layerlottery[timm]"
        ) from error
    config = timm.get_pretrained_cfg(settings.name)
    sizes = {"img_size": image_size} if config is not None and config.fixed_input_size else {}
    options = {"num_classes": classes, "in_chans": channels} | sizes | settings.options
    return constructed(
        settings,
        "timm",
        # names with the tag of pretrained weights are in no list
        known={settings.name} if timm.is_model(settings.name) else timm.list_models(),
        stems=STEMS,
        make=lambda: timm.create_model(settings.name, pretrained=False, **options),
    )
