"""Forms of layers that give the same numbers up to rounding and cost less, for networks that train on a processor."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerlottery.networks.resnet import BasicBlock, CifarResNet, PaddedShortcut, ProjectedShortcut

# mallopt's names for two settings, and the largest value that glibc takes for the second
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20


def keep_freed_memory() -> None:
    """Let this process reuse the memory of freed tensors of up to 32 MiB and give none back; glibc alone is asked.

    Without it every feature map is new memory, which the system clears page by page: 11,000 page faults a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)


class TinyMapConvolution(nn.Conv2d):
    """A convolution that takes maps of a pixel or few as one matrix product.

    Where every pixel sees every other, as in maps of 2x2 under a 3x3 kernel, the convolution is a full matrix with
    rows (output channel, pixel) and columns (pixel, input channel), and smaller than the kernel's taps in the
    padding. oneDNN takes three times as long there, most of it for the gradient of the weights.
    """

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if height > self.kernel_size[0] // 2 + 1 or width > self.kernel_size[1] // 2 + 1:
            return super().forward(x)
        taps = _taps(height, width, self.kernel_size).to(x.device)
        kernel = self.weight.permute(0, 2, 3, 1).flatten(1, 2)
        matrix = kernel.index_select(1, taps).reshape(self.out_channels * height * width, -1)
        maps = F.linear(x.permute(0, 2, 3, 1).flatten(1), matrix).view(-1, self.out_channels, height, width)
        if self.bias is not None:
            maps = maps + self.bias.view(-1, 1, 1)
        last = x.is_contiguous(memory_format=torch.channels_last)
        return maps.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


@lru_cache
def _taps(height: int, width: int, kernel_size: tuple[int, ...]) -> Tensor:
    """Which tap of the kernel, counted by rows, joins each output pixel with each input pixel: (pixels²,)."""
    rows, columns = torch.arange(height), torch.arange(width)
    down = rows[None, :] - rows[:, None] + kernel_size[0] // 2
    right = columns[None, :] - columns[:, None] + kernel_size[1] // 2
    # output row, output column, input row, input column
    return (down[:, None, :, None] * kernel_size[1] + right[None, :, None, :]).flatten()


class InPlaceBlock(BasicBlock):
    """A basic block whose addition and activations write into what its BatchNorms gave, which nobody else reads."""

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(inner)).add_(self.shortcut(x)), inplace=True)


def every_other(x: Tensor, stride: int) -> Tensor:
    """Every `stride`-th pixel of maps (N, C, H, W), as the mean of itself.

    The gradient of a slice comes in the usual layout whatever the maps' own is, and everything behind it, up to the
    stage's end, then reads two layouts side by side; that of pooling keeps the layout.
    """
    return F.avg_pool2d(x, 1, stride)


class PooledPaddedShortcut(PaddedShortcut):
    """Option A, whose gradient has the layout of its maps."""

    def forward(self, x: Tensor) -> Tensor:
        before = self.missing // 2
        return F.pad(every_other(x, self.stride), (0, 0, 0, 0, before, self.missing - before))


class PooledProjectedShortcut(ProjectedShortcut):
    """Option B, whose gradient has the layout of its maps."""

    def forward(self, x: Tensor) -> Tensor:
        projected: Tensor = self.bn(self.conv(every_other(x, self.stride)))
        return projected


class PooledResNet(CifarResNet):
    """A CIFAR ResNet whose last maps are averaged by pooling, for the same reason."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        logits: Tensor = self.classifier(F.avg_pool2d(x, x.shape[2:]).flatten(1))
        return logits


# what needs no look at a module's parts
FORMS = {
    PaddedShortcut: PooledPaddedShortcut,
    ProjectedShortcut: PooledProjectedShortcut,
    CifarResNet: PooledResNet,
}


def accelerate(model: nn.Module) -> nn.Module:
    """Give layers and blocks of `model` their faster forms, in place; state, names and parameters stay what they are.

    Only layers of exactly the known kinds change: one that another module stands in for is left alone.
    """
    for module in model.modules():
        if type(module) is nn.Conv2d and _same_size(module):
            module.__class__ = TinyMapConvolution
        elif type(module) is BasicBlock and type(module.bn1) is type(module.bn2) is nn.BatchNorm2d:
            module.__class__ = InPlaceBlock
        else:
            module.__class__ = FORMS.get(type(module), type(module))
    return model


def _same_size(layer: nn.Conv2d) -> bool:
    """Whether it is a whole convolution over zero padding that keeps the size of maps."""
    odd = all(side % 2 for side in layer.kernel_size) and max(layer.kernel_size) > 1 and layer.padding_mode == "zeros"
    centred = layer.padding == tuple(side // 2 for side in layer.kernel_size)
    return odd and centred and layer.stride == layer.dilation == (1, 1) and layer.groups == 1
