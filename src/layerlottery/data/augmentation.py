"""Augmentation of whole batches of uint8 images; every draw follows from seed, epoch and batch alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from layerlottery.config.training import TrainingSettings
from layerlottery.data.batches import Share
from layerlottery.store.hashing import derived_seed

# images that share RandAugment's draws. Measured, 128 images of 32x32, one core, milliseconds a batch in groups of
# 1: 30, 2: 18, 4: 9.9, 8: 5.3, 16: 3.3
GROUP = 8
# bounds of width / height, and how often a box is drawn until it lies within the image: those of torchvision
ASPECT = (3 / 4, 4 / 3)
TRIES = 10


def augment(
    images: Tensor, settings: TrainingSettings, *, seed: int, epoch: int, batch: int, share: Share | None = None
) -> Tensor:
    """Crop, flip and RandAugment of uint8 (N, C, H, W), as far as the recipe has them.

    A generator of the batch's own makes resuming exact anywhere; the process's random state neither matters nor moves.
    Images that are a `share` of a batch come out as they would among the others.
    """
    share = share or _all(images)
    if settings.crop or settings.resized_crop or settings.flip:
        generator = torch.Generator().manual_seed(derived_seed("augment", seed, epoch, batch))
        if settings.crop:
            images = random_crop(images, settings.crop, generator, share)
        if settings.resized_crop:
            images = random_resized_crop(images, settings.resized_crop, generator, share)
        if settings.flip:
            images = random_flip(images, generator, share)
    if settings.rand_augment:
        drawn = derived_seed("rand_augment", seed, epoch, batch)
        images = rand_augment(images, settings.rand_augment, settings.rand_magnitude, seed=drawn, share=share)
    return images


def _all(images: Tensor) -> Share:
    return Share(0, len(images), len(images))


def random_crop(images: Tensor, padding: int, generator: torch.Generator, share: Share | None = None) -> Tensor:
    """Each (C, H, W) image moved by up to `padding` pixels either way, the gap filled with 0."""
    count, _, height, width = images.shape
    windows = F.pad(images, (padding,) * 4).unfold(2, height, 1).unfold(3, width, 1)
    share = share or _all(images)
    drawn = torch.randint(0, 2 * padding + 1, (2, share.whole), generator=generator)
    corner = share.of(drawn, 1).to(images.device)
    return windows[torch.arange(count, device=images.device), :, corner[0], corner[1]]


def random_flip(images: Tensor, generator: torch.Generator, share: Share | None = None) -> Tensor:
    """Each image mirrored left to right with probability one half."""
    share = share or _all(images)
    mirrored = share.of(torch.rand(share.whole, generator=generator) < 0.5).to(images.device)
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def random_resized_crop(
    images: Tensor, smallest: float, generator: torch.Generator, share: Share | None = None
) -> Tensor:
    """A box of each image, of `smallest` to all of its area, brought back to the image's size (bilinear).

    As torchvision's RandomResizedCrop, which draws one box for a whole batch.
    """
    share = share or _all(images)
    boxes = draw_boxes(images, smallest, generator, share.whole)
    return resize_boxes(images, share.of(boxes).to(images.device))


def draw_boxes(images: Tensor, smallest: float, generator: torch.Generator, count: int | None = None) -> Tensor:
    """For each of `count` such images left, top, width, height (N, 4) in pixels; the whole where no try lies within it.

    The area is uniform, the logarithm of width / height too.
    """
    count, (height, width) = count or len(images), images.shape[2:]
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


def rand_augment(images: Tensor, operations: int, magnitude: int, *, seed: int, share: Share | None = None) -> Tensor:
    """RandAugment (Cubuk et al. 2020), torchvision's: `operations` of 14 at strength `magnitude` of 0 to 30.

    Images that follow each other, GROUP at a time, get the same operations: an epoch's order puts others together each
    time. Takes images of 1 or 3 channels.
    """
    # here, for it imports torch's compiler
    from torchvision.transforms.v2 import RandAugment

    policy, share = RandAugment(operations, magnitude), share or _all(images)
    # it draws from the process's own generator, which is given back as it was; accelerators' are not used
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        # for groups before this share the draws are made on a blank image
        blank, changed = torch.zeros_like(images[:1]), []
        for start in range(0, share.last, GROUP):
            group = images[max(0, start - share.first) : max(0, start + GROUP - share.first)]
            changed.append(policy(group if len(group) else blank)[: len(group)])
        return torch.cat(changed)
