"""Vision transformers: torchvision's class, of any size (Dosovitskiy et al. 2021)."""

from __future__ import annotations

from torch import nn
from torchvision.models import VisionTransformer

from layerlottery.config.networks import VisionTransformerSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.zoo.stems import take_channels


def build(settings: VisionTransformerSettings, *, channels: int, classes: int, image_size: int | None) -> nn.Module:
    """Raises LayerLotteryError where patches do not divide the images."""
    if image_size is None or image_size % settings.patch:
        raise LayerLotteryError(
            f"networks: family vit with patch {settings.patch} can't take images of {image_size} pixels a side; "
            "allowed: multiples of the patch"
        )
    model: nn.Module = VisionTransformer(
        image_size=image_size,
        patch_size=settings.patch,
        num_layers=settings.layers,
        num_heads=settings.heads,
        hidden_dim=settings.hidden,
        mlp_dim=settings.mlp,
        num_classes=classes,
    )
    take_channels(model, channels)
    return model
