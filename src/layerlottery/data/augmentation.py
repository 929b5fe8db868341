"""Augmentation of whole batches of uint8 images; every draw follows from seed, epoch and batch alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from layerlottery.config.training import TrainingSettings
from layerlottery.store.hashing import derived_seed

# images that share RandAugment's draws. Measured, 128 images of 32x32, one core, milliseconds a batch in groups of
# 1: 30, 2: 18, 4: 9.9, 8: 5.3, 16: 3.3
GROUP = 8
# bounds of width / height, and how often a box is drawn until it lies within the image: those of torchvision
ASPECT = (3 / 4, 4 / 3)
TRIES = 10


def augment(images: Tensor, settings: TrainingSettings, *, seed: int, epoch: int, batch: int) -> Tensor:
    """Crop, flip and RandAugment of uint8 (N, C, H, W), as far as the recipe has them.

    A generator of the batch's own makes resuming exact anywhere; the process's random state neither matters nor moves.
    """
    if settings.crop or settings.resized_crop or settings.flip:
        generator = torch.Generator().manual_seed(derived_seed("augment", seed, epoch, batch))
        if settings.crop:
            images = random_crop(images, settings.crop, generator)
        if settings.resized_crop:
            images = random_resized_crop(images, settings.resized_crop, generator)
        if settings.flip:
            images = random_flip(images, generator)
    if settings.rand_augment:
        drawn = derived_seed("rand_augment", seed, epoch, batch)
        images = rand_augment(images, settings.rand_augment, settings.rand_magnitude, seed=drawn)
    return images


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Each (C, H, W) image moved by up to `padding` pixels either way, the gap filled with 0."""
    count, _, height, width = images.shape
    windows = F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    corner = torch.randint(0, 2 * padding + 1, (2, count), generator=generator).to(images.device)
    return windows[torch.arange(count, device=images.device), :, corner[0], corner[1]]


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image mirrored left to right with probability one half."""
    mirrored = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def random_resized_crop(images: Tensor, smallest: float, generator: torch.Generator) -> Tensor:
    """A box of each image, of `smallest` to all of its area, brought back to the image's size (bilinear).

    As torchvision's RandomResizedCrop, which draws one box for a whole batch.
    """
    return resize_boxes(images, draw_boxes(images, smallest, generator).to(images.device))


def draw_boxes(images: Tensor, smallest: float, generator: torch.Generator) -> Tensor:
    """For each image left, top, width and height (N, 4) in whole pixels; the whole image where no try lies within it.

    The area is uniform, the logarithm of width / height too.
    """
    count, _, height, width = images.shape
    drawn = torch.rand(4, count, TRIES, generator=generator)
    area = height * width * (smallest + (1 - smallest) * drawn[0])
    low, high = map(math.log, ASPECT)
    aspect = torch.exp(low + (high - low) * drawn[1])
    size = torch.stack([(area * aspect).sqrt(), (area / aspect).sqrt()]).round()
    room = torch.tensor([width, height]).view(2, 1, 1) - size
    fits = ((size >= 1) & (room >= 0)).all(0)
    corner = (drawn[2:] * (room + 1)).floor().minimum(room)
    # of equal ones argmax takes the first
    first = fits.int().argmax(1)
    boxes = torch.cat([corner, size])[:, torch.arange(count), first].T
    return torch.where(fits.any(1)[:, None], boxes, torch.tensor([0.0, 0.0, width, height]))


def resize_boxes(images: Tensor, boxes: Tensor) -> Tensor:
    """The boxes (left, top, width, height) of uint8 images, each resized to the whole image, bilinear and rounded.

    As F.interpolate does with each box alone: what lies outside it isn't looked at.
    """
    _, _, height, width = images.shape
    axes = []
    for whole, start, size in ((width, boxes[:, 0:1], boxes[:, 2:3]), (height, boxes[:, 1:2], boxes[:, 3:4])):
        centre = (torch.arange(whole, device=images.device) + 0.5) * size / whole - 0.5
        pixel = start + torch.minimum(centre.clamp(min=0), size - 1)
        # from pixels to -1 at the first one's outer edge, 1 at the last one's
        axes.append((2 * pixel + 1) / whole - 1)
    across, down = axes[0][:, None, :], axes[1][:, :, None]
    grid = torch.stack(torch.broadcast_tensors(across, down), dim=3)
    return F.grid_sample(images.float(), grid, align_corners=False).round().to(torch.uint8)


def rand_augment(images: Tensor, operations: int, magnitude: int, *, seed: int) -> Tensor:
    """RandAugment (Cubuk et al. 2020), torchvision's: `operations` of 14 at strength `magnitude` of 0 to 30.

    Images that follow each other, GROUP at a time, get the same operations: an epoch's order puts others together each
    time. Takes images of 1 or 3 channels.
    """
    # here, for it imports torch's compiler
    from torchvision.transforms.v2 import RandAugment

    policy = RandAugment(operations, magnitude)
    # it draws from the process's own generator, which is given back as it was; accelerators' are not used
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return torch.cat([policy(group) for group in images.split(GROUP)])
