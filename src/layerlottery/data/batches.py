"""Training batches as whole tensors: an order that follows from seed and epoch alone, and normalised images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from layerlottery.store.hashing import derived_seed

# images of one forward pass that keeps no gradients
BATCH_SIZE = 500
# on a processor, for activations that stay in a core's cache. Measured, ResNet20 at 32x32, one core, milliseconds an
# image in batches of 25: 1.68, 50: 1.67, 64: 1.53, 100: 1.47, 128: 1.48, 250: 1.70, 500: 1.86
CPU_BATCH_SIZE = 100


def pass_size(device: torch.device) -> int:
    """The fastest number of images of one forward pass that keeps no gradients."""
    return CPU_BATCH_SIZE if device.type == "cpu" else BATCH_SIZE


@dataclass(frozen=True)
class Share:
    """Images `first` to `last`, which is left out, of a batch of `whole`; random numbers are drawn for all of them."""

    first: int
    last: int
    whole: int

    def __len__(self) -> int:
        return self.last - self.first

    def of(self, values: Tensor, dim: int = 0) -> Tensor:
        """What belongs to these images, of values for the whole batch along `dim`."""
        return values.narrow(dim, self.first, len(self))


def epoch_order(count: int, *, seed: int, epoch: int) -> Tensor:
    """The order of `count` images in one epoch (from 0): a permutation, int64."""
    generator = torch.Generator().manual_seed(derived_seed("order", seed, epoch))
    return torch.randperm(count, generator=generator)


def split(order: Tensor, size: int) -> Sequence[Tensor]:
    """An epoch's batches of `size` images; a last one of a single image joins the one before it.

    A single image has no batch statistics: BatchNorm would divide by nothing where its map is one pixel.
    """
    batches = list(order.split(size))
    left_over = size > 1 and len(batches) > 1 and len(batches[-1]) == 1
    return [*batches[:-2], torch.cat(batches[-2:])] if left_over else batches


class Normalizer:
    """uint8 images to float32 in channels_last or the usual layout, by mean and standard deviation in [0, 1] units."""

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], *, device: torch.device, channels_last: bool
    ) -> None:
        self.mean = torch.tensor(mean, device=device).mul(255).view(1, -1, 1, 1)
        self.std = torch.tensor(std, device=device).mul(255).view(1, -1, 1, 1)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format

    def __call__(self, images: Tensor) -> Tensor:
        return images.to(self.mean.device).float().sub_(self.mean).div_(self.std).contiguous(memory_format=self.layout)
