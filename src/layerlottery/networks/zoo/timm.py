"""Networks of timm (an optional dependency), and their trained weights."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

import torch
from torch import Tensor, nn

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
    timm, options = _timm(), _options(settings, channels, image_size)
    return constructed(
        settings,
        "timm",
        # names with the tag of pretrained weights are in no list
        known={settings.name} if timm.is_model(settings.name) else timm.list_models(),
        stems=STEMS,
        make=lambda: timm.create_model(settings.name, pretrained=False, num_classes=classes, **options),
    )


def published(settings: TimmSettings, *, channels: int, image_size: int) -> tuple[str, dict[str, Tensor]]:
    """Name and state of timm's weights, in the network's size; downloaded, and checked, unless a cache has them.

    Raises LayerLotteryError for a network that has none.
    """
    timm, name = _timm(), settings.name
    config = _config(settings)
    if config is None or not config.has_weights:
        known = timm.list_pretrained()
        close = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.0))
        raise LayerLotteryError(f"timm has no weights of {name}; the closest names with weights are {close}")
    timm.models.set_pretrained_check_hash(True)
    tag = f".{config.tag}" if config.tag else ""
    return f"timm.{config.architecture or name.partition('.')[0]}{tag}", _trained(settings, channels, image_size)


def converted(
    settings: TimmSettings, state: dict[str, Tensor], *, classes: int | None, channels: int, image_size: int
) -> dict[str, Tensor]:
    """A state as timm's network has it: other names, channels and sizes; as it is where timm can't tell it apart."""
    known = {} if classes is None else {"num_classes": classes}
    try:
        return _trained(settings, channels, image_size, pretrained_cfg_overlay={"state_dict": state, **known})
    except Exception:  # what timm can't convert is of another architecture
        return state


def _trained(settings: TimmSettings, channels: int, image_size: int, **source: Any) -> dict[str, Tensor]:
    """The state that timm makes of trained weights, its own unless `source` has others."""
    options = _options(settings, channels, image_size)
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = _timm().create_model(settings.name, pretrained=True, **options, **source)
    return model.state_dict()


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise LayerLotteryError(
            "networks: family timm needs the package timm, which is not installed; it comes with layerlottery[timm]"
        ) from error


def _config(settings: TimmSettings) -> Any:
    """What timm knows of a network's weights: size of images, classes, source; None for an unknown network."""
    try:
        return _timm().get_pretrained_cfg(settings.name)
    except RuntimeError as error:
        name = settings.name.partition(".")[0]
        known = ", ".join(one.partition(".")[2] for one in _timm().list_pretrained(f"{name}.*"))
        raise LayerLotteryError(f"networks: timm.{settings.name}: {error} Allowed tags: {known or 'none'}") from None


def _options(settings: TimmSettings, channels: int, image_size: int | None) -> dict[str, Any]:
    """Arguments of the constructor, but for the number of classes."""
    config = _config(settings)
    sizes = {"img_size": image_size} if config is not None and config.fixed_input_size else {}
    return {"in_chans": channels} | sizes | settings.options
