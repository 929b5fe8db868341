"""Networks of timm (an optional dependency), with random weights."""

from __future__ import annotations

import importlib
from types import ModuleType

from torch import nn

from layerlottery.config.networks import TimmSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.zoo.library import called, check_options, constructed, unknown
from layerlottery.networks.zoo.stems import SmallStem, make_small

STEMS = {
    "ResNet": SmallStem("conv1", kernel=3, pool="maxpool"),
    "EfficientNet": SmallStem("conv_stem"),
    "MobileNetV3": SmallStem("conv_stem"),
    "RegNet": SmallStem("stem.conv"),
    "ConvNeXt": SmallStem("stem.0", kernel=3),
}


def build(settings: TimmSettings, *, channels: int, classes: int, image_size: int | None) -> nn.Module:
    """Raises LayerLotteryError without timm, and as the networks of torchvision do."""
    timm = _timm()
    if not timm.is_model(settings.name):
        unknown(settings.name, "timm", timm.list_models())
    check_options(settings)
    name = called(settings, "timm")
    config = timm.get_pretrained_cfg(settings.name)
    sizes = {"img_size": image_size} if config is not None and config.fixed_input_size else {}
    model = constructed(
        lambda: timm.create_model(
            settings.name, pretrained=False, num_classes=classes, in_chans=channels, **(sizes | settings.options)
        ),
        name,
    )
    if settings.stem == "small":
        make_small(model, STEMS, called=name)
    return model


def _timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise LayerLotteryError(
            "networks: family timm needs the package timm, which is not installed; it comes with layerlottery[timm]"
        ) from error
