"""CIFAR ResNets with BatchNorm and ReLU before each convolution (He et al. 2016b, arXiv 1603.05027)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from layerlottery.config.networks import PreactResNetSettings
from layerlottery.networks.resnet import MakeBlock, PaddedShortcut, TwoForms, stage

Shortcut = Literal["A", "B"]


class Projection(nn.Module):
    """Every other pixel through a 1x1 convolution; a strided one is not given to oneDNN, see networks/resnet.py."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.conv(x[:, :, :: self.stride, :: self.stride])
        return projected


class PreactBlock(TwoForms):
    """x + conv(relu(bn(conv(relu(bn(x)))))); where the shape changes, the shortcut starts behind the first ReLU."""

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, *, shortcut: Shortcut, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        kind = {"A": PaddedShortcut, "B": Projection}[shortcut]
        same = stride == 1 and channels_in == channels_out
        self.shortcut = None if same else kind(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        inner = self.dropout(F.relu(self.bn2(self.convolve(self.conv1, active))))
        return self.convolve(self.conv2, inner) + (x if self.shortcut is None else self.shortcut(active))


class PreactNet(nn.Module):
    """Images (N, channels, H, W), H and W at least 8, to logits (N, classes).

    `widths` are the channels of the stem and of the three stages, each of `blocks` blocks that `block` makes.
    """

    def __init__(self, block: MakeBlock, widths: Sequence[int], blocks: int, *, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        self.stage1 = stage(block, widths[0], widths[1], stride=1, blocks=blocks)
        self.stage2 = stage(block, widths[1], widths[2], stride=2, blocks=blocks)
        self.stage3 = stage(block, widths[2], widths[3], stride=2, blocks=blocks)
        self.bn = nn.BatchNorm2d(widths[3])
        self.classifier = nn.Linear(widths[3], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.stage3(self.stage2(self.stage1(self.stem(x))))))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def build(settings: PreactResNetSettings, *, channels: int, classes: int, image_size: int | None) -> nn.Module:
    """Its weights do not depend on `image_size`."""
    widths = (settings.width, settings.width, 2 * settings.width, 4 * settings.width)
    block = partial(PreactBlock, shortcut=settings.shortcut)
    return PreactNet(block, widths, settings.blocks_per_stage, channels=channels, classes=classes)
