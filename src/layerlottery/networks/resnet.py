"""CIFAR ResNets (He et al. 2016, section 4.2): three stages of n basic blocks, depth 6n + 2."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerlottery.config.networks import NetworkSettings

# (channels in, channels out, stride)
MakeBlock = Callable[[int, int, int], nn.Module]

# pixels a side of maps on which a 3x3 kernel joins every pixel with every other
TINY = 2


class TwoForms(nn.Module):
    """A module that computes the same, up to rounding, in a second form while `fast` is set.

    That form costs less where a network trains on a processor. It writes into what layers put out and passes over the
    hooks of some convolutions, so all else (scoring, tracing, costs, export) gets the plain form, the default.
    """

    fast: bool = False

    def convolve(self, layer: nn.Conv2d, x: Tensor) -> Tensor:
        """A 3x3 convolution of maps (N, C, H, W)."""
        if self.fast and max(x.shape[2:]) <= TINY and _whole(layer):
            return _product(layer, x)
        maps: Tensor = layer(x)
        return maps

    def every_other(self, x: Tensor, stride: int) -> Tensor:
        """Every `stride`-th pixel of maps (N, C, H, W); in the fast form as the mean of itself.

        The gradient of a slice comes in the usual layout whatever the maps' own is, and everything behind it, up to the
        stage's end, then reads two layouts side by side; that of pooling keeps the layout.
        """
        return F.avg_pool2d(x, 1, stride) if self.fast else x[:, :, ::stride, ::stride]


def _whole(layer: nn.Conv2d) -> bool:
    """Whether it keeps the size of maps and is nothing but a kernel: no bias, no mask."""
    return type(layer) is nn.Conv2d and layer.stride == (1, 1) and layer.bias is None


def _product(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A 3x3 convolution of tiny maps as one matrix product.

    The matrix has rows (output channel, pixel) and columns (pixel, input channel), and is smaller than the kernel's
    taps in the padding. oneDNN takes three times as long there, most of it for the gradient of the weights.
    """
    height, width = x.shape[2:]
    pixels = [(row, column) for row in range(height) for column in range(width)]
    # the tap, counted by rows, that joins each output pixel with each input pixel
    taps = [3 * (below - row + 1) + right - column + 1 for row, column in pixels for below, right in pixels]
    kernel = layer.weight.permute(0, 2, 3, 1).flatten(1, 2)
    matrix = kernel.index_select(1, torch.tensor(taps, device=x.device)).reshape(layer.out_channels * len(pixels), -1)
    maps = F.linear(x.permute(0, 2, 3, 1).flatten(1), matrix).view(-1, layer.out_channels, height, width)
    last = x.is_contiguous(memory_format=torch.channels_last)
    return maps.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


class PaddedShortcut(TwoForms):
    """Option A: every other pixel, missing channels filled with zeros; no parameters."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride, self.missing = stride, channels_out - channels_in

    def forward(self, x: Tensor) -> Tensor:
        before = self.missing // 2
        return F.pad(self.every_other(x, self.stride), (0, 0, 0, 0, before, self.missing - before))


class ProjectedShortcut(TwoForms):
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
        projected: Tensor = self.bn(self.conv(self.every_other(x, self.stride)))
        return projected


def stage(block: MakeBlock, channels_in: int, channels_out: int, *, stride: int, blocks: int) -> nn.Sequential:
    """So many blocks, the first of which changes width and size."""
    others = (block(channels_out, channels_out, 1) for _ in range(blocks - 1))
    return nn.Sequential(block(channels_in, channels_out, stride), *others)


class BasicBlock(TwoForms):
    """Two 3x3 convolutions beside a shortcut; ReLU after the addition.

    The fast form writes into what the last layers before ReLU and addition put out, which nobody else reads.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int, *, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        kind = {"A": PaddedShortcut, "B": ProjectedShortcut}[shortcut]
        same = stride == 1 and channels_in == channels_out
        self.shortcut = nn.Identity() if same else kind(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.convolve(self.conv1, x)), inplace=self.fast)
        outer, shortcut = self.bn2(self.convolve(self.conv2, inner)), self.shortcut(x)
        return F.relu(outer.add_(shortcut) if self.fast else outer + shortcut, inplace=self.fast)


class CifarResNet(TwoForms):
    """Images (N, channels, H, W), H and W at least 8, to logits (N, classes)."""

    def __init__(self, settings: NetworkSettings, *, channels: int, classes: int) -> None:
        super().__init__()
        width = settings.width
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        block, blocks = partial(BasicBlock, shortcut=settings.shortcut), settings.blocks_per_stage
        self.stage1 = stage(block, width, width, stride=1, blocks=blocks)
        self.stage2 = stage(block, width, 2 * width, stride=2, blocks=blocks)
        self.stage3 = stage(block, 2 * width, 4 * width, stride=2, blocks=blocks)
        self.classifier = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        # pooling for the layout of the gradient, as in every_other
        means = F.avg_pool2d(x, x.shape[2:]).flatten(1) if self.fast else x.mean(dim=(2, 3))
        logits: Tensor = self.classifier(means)
        return logits


def initialize(model: nn.Module, seed: int) -> None:
    """Draw θ0 in place: convolutions by He et al. (2015), normal, fan out; BatchNorm 1 and 0; biases 0.

    Linear layers are normal with variance 1 / (3 fan_in), as torch's own, and over n in a CIFAR ResNet with n blocks in
    its last stage: each adds its part to the variance of the features that no norm follows (De & Smith 2020), so that
    the initial loss would grow with depth, and in short trainings depth itself would look harmful.
    """
    generator = torch.Generator().manual_seed(seed)
    grown = len(model.stage3) if isinstance(model, CifarResNet) else 1
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=(3 * module.in_features * grown) ** -0.5, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
