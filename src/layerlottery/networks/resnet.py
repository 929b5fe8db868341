"""CIFAR ResNets (He et al. 2016, section 4.2): three stages of n basic blocks, depth 6n + 2."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerlottery.config.networks import NetworkSettings


class PaddedShortcut(nn.Module):
    """Option A: every other pixel, missing channels filled with zeros; no parameters."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride, self.missing = stride, channels_out - channels_in

    def forward(self, x: Tensor) -> Tensor:
        before = self.missing // 2
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.missing - before))


class ProjectedShortcut(nn.Module):
    """Option B: every other pixel through a 1x1 convolution with BatchNorm.

    The same as a strided 1x1 convolution, which oneDNN 3 may not be given: with fewer than 8 input channels in
    channels_last its weight gradient writes past its workspace on AVX2 processors (oneDNN issue 6035).
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.bn(self.conv(x[:, :, :: self.stride, :: self.stride]))
        return projected


def make_shortcut(option: str, channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """The identity where shapes agree, else option A (padding) or B (1x1 projection with BatchNorm)."""
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    if option == "A":
        return PaddedShortcut(channels_in, channels_out, stride)
    return ProjectedShortcut(channels_in, channels_out, stride)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; ReLU after the addition."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, *, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.shortcut = make_shortcut(shortcut, channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class CifarResNet(nn.Module):
    """Images (N, channels, H, W), H and W at least 8, to logits (N, classes)."""

    def __init__(self, settings: NetworkSettings, *, channels: int, classes: int) -> None:
        super().__init__()
        width = settings.width
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.stage1 = self._stage(settings, width, width, stride=1)
        self.stage2 = self._stage(settings, width, 2 * width, stride=2)
        self.stage3 = self._stage(settings, 2 * width, 4 * width, stride=2)
        self.classifier = nn.Linear(4 * width, classes)

    @staticmethod
    def _stage(settings: NetworkSettings, channels_in: int, channels_out: int, *, stride: int) -> nn.Sequential:
        first = BasicBlock(channels_in, channels_out, stride, shortcut=settings.shortcut)
        others = [
            BasicBlock(channels_out, channels_out, 1, shortcut=settings.shortcut)
            for _ in range(settings.blocks_per_stage - 1)
        ]
        return nn.Sequential(first, *others)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


def initialize(model: nn.Module, seed: int) -> None:
    """Draw θ0 in place: He et al. (2015) normal weights, fan out; BatchNorm 1 and 0; biases 0."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
