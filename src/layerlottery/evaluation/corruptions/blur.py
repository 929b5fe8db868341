"""Blurs: Gaussian, defocus, frosted glass, motion, zoom. Their distances are pixels, except that zoom is relative."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from layerlottery.evaluation.corruptions.constants import pixel_scale
from layerlottery.evaluation.corruptions.pixels import (
    Floats,
    Generators,
    bordered,
    drawn,
    gaussian_filter,
    truncate,
    unit,
    windows,
)

FACTOR_STEP = 0.01  # between the factors of zoom_blur
LARGEST_TABLE = 64  # pixels a side up to which zoom_blur is a table of weights (5 MB at 64)
WEIGHT_BITS = 16  # of those weights: their sums with 8-bit values are exact in float32
SMALLEST_WEIGHT = 1e-6  # of a motion blur's nearest pixel: what is below changes no level


def gaussian_blur(images: Tensor, generators: Generators, sigma: float) -> Tensor:
    """Gaussian filter over height and width, edges repeated, cut off at 4 standard deviations."""
    return truncate(gaussian_filter(unit(images), sigma * pixel_scale(images.shape[-1])))


def defocus_blur(images: Tensor, generators: Generators, radius: float, sigma: float) -> Tensor:
    """Mean over a disk with soft edges, the image mirrored at its edges (the edge pixel is not repeated).

    Up to severity 3 the disk is one pixel at 32x32, and its soft edge alone blurs.
    """
    scale = pixel_scale(images.shape[-1])
    kernel = disk(radius * scale, sigma * scale, softened=math.ceil(scale))
    return truncate(_filtered(images.double(), kernel).div_(255))


def disk(radius: float, sigma: float, *, softened: int) -> npt.NDArray[np.float32]:
    """A disk with sum 1, filtered by a Gaussian that is cut off at `softened` pixels; float32, as published."""
    reach = int(radius) + softened
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    weights: npt.NDArray[np.float32] = (rows**2 + columns**2 <= radius**2).astype(np.float32)
    weights /= weights.sum()
    edge = np.exp(-0.5 * (np.arange(-softened, softened + 1) / sigma) ** 2)
    edge = (edge / edge.sum()).astype(np.float32)
    for axis in (0, 1):
        weights = np.apply_along_axis(np.convolve, axis, weights, edge, mode="same")
    return weights


def _filtered(levels: Tensor, kernel: npt.NDArray[np.float32]) -> Tensor:
    """Correlation with a symmetric kernel: pixels of the same weight are summed first, which is exact."""
    reach, size = len(kernel) // 2, levels.shape[-1]
    alike: dict[float, list[tuple[int, int]]] = defaultdict(list)
    for row, column in np.ndindex(kernel.shape):
        alike[float(kernel[row, column])].append((row, column))
    padded = bordered(levels, reach, "reflect")
    filtered = torch.zeros_like(levels)
    for weight, places in sorted(alike.items()):
        if weight > 0:
            filtered += weight * sum(padded[:, :, row : row + size, column : column + size] for row, column in places)
    return filtered


def glass_blur(images: Tensor, generators: Generators, sigma: float, distance: float, rounds: int) -> Tensor:
    """Gaussian filter, pixels that take the colour of a random neighbour, and the filter again."""
    size = images.shape[-1]
    reach = round(distance * pixel_scale(size))
    shape = (rounds, size - 2 * reach, size - 2 * reach, 2)
    offsets = drawn(generators, lambda source: source.integers(-reach, reach, shape, dtype=np.int8))
    return through_glass(images, offsets.astype(np.int64), sigma=sigma * pixel_scale(size))


def through_glass(images: Tensor, offsets: npt.NDArray[np.int64], *, sigma: float) -> Tensor:
    """Glass blur by given offsets (N, rounds, pixels, pixels, 2), across and down, from the last pixel to the first.

    The published code means to swap two pixels, but its two names share memory, so that a pixel is overwritten by
    its neighbour and the neighbour stays. The published images are made so, and these too.
    """
    blurred = truncate(gaussian_filter(unit(images), sigma))
    places = torch.from_numpy(_copied(offsets, size=images.shape[-1])).flatten(1)
    shape = (len(images), images.shape[1], places.shape[1])
    moved = blurred.flatten(2).gather(2, places[:, None].expand(shape)).reshape(images.shape)
    return truncate(gaussian_filter(unit(moved), sigma))


def _copied(offsets: npt.NDArray[np.int64], *, size: int) -> npt.NDArray[np.int64]:
    """Where each pixel's colour comes from: flat places (N, size, size)."""
    count, _, inner = offsets.shape[:3]
    reach = (size - inner) // 2
    places = np.broadcast_to(np.arange(size * size).reshape(size, size), (count, size, size)).copy()
    last, images = size - reach, np.arange(count)
    for across, down in np.moveaxis(offsets, (1, -1), (0, 1)):
        if reach == 1:  # neighbours are above or to the left, where no pixel has changed yet
            target = np.arange(last, reach, -1)
            source = places[images[:, None, None], target[:, None] + down, target + across]
            places[:, reach + 1 :, reach + 1 :] = source[:, ::-1, ::-1]
            continue
        for row, column in np.ndindex(inner, inner):
            y, x = last - row, last - column
            places[:, y, x] = places[images, y + down[:, row, column], x + across[:, row, column]]
    return places


def motion_blur(images: Tensor, generators: Generators, radius: float, sigma: float) -> Tensor:
    """One-sided Gaussian along a random direction, -45 to 45 degrees."""
    scale = pixel_scale(images.shape[-1])
    angles = drawn(generators, lambda source: source.uniform(-45, 45))
    return blurred_along(images, angles.astype(float), radius=radius * scale, sigma=sigma * scale)


def blurred_along(images: Tensor, angles: Floats, *, radius: float, sigma: float) -> Tensor:
    """ImageMagick's motion blur by angles (N,) in degrees: uint8 (N, C, H, W) again, edges repeated.

    Pixel i of 2 * radius + 1 has the weight exp(-i^2 / (2 sigma^2)) and lies ceil(i cos - 0.5) to the right and
    ceil(i sin - 0.5) below. Results are rounded to 16 bits (multiples of 1/257 level) and then truncated to 8, as
    version 6 with 16 bits does.
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2.0) / (2 * sigma**2))
    weights = (weights / weights.sum())[weights > SMALLEST_WEIGHT]
    steps, radians = steps[: len(weights)], np.deg2rad(angles)[:, None]
    right = np.ceil(steps * np.cos(radians) - 0.5).astype(np.int64)
    below = np.ceil(steps * np.sin(radians) - 0.5).astype(np.int64)
    # the weighted sum of the images shifted by so many pixels, (N, steps), as float32 levels
    reach = max(abs(right).max(), abs(below).max(), 1)
    padded = bordered(images, reach, "edge").float()
    side = padded.shape[-1]
    corners = np.arange(len(images))[:, None] * padded[0].numel() + (reach + below) * side + reach + right
    starts = torch.from_numpy(corners)
    total = torch.zeros(images.shape)
    for step, weight in enumerate(weights):
        total += windows(padded, starts[:, step], size=images.shape[-1]).mul_(float(weight))
    # half of a 257th: what is rounded up to a whole level is not truncated below it
    return total.add_(0.5 / 257).to(torch.uint8)


def zoom_blur(images: Tensor, generators: Generators, end: float) -> Tensor:
    """Mean of the image and of its enlargements about the centre, the first of which is the image again."""
    if images.shape[-1] <= LARGEST_TABLE:
        summed = _by_table(images, end)
    else:
        summed, factors = images.float(), np.arange(1, end, FACTOR_STEP)
        for factor in factors:
            summed += enlarged(images.float(), float(factor))
        summed /= len(factors) + 1
    return truncate(summed.double().div_(255))


def enlarged(images: Tensor, factor: float) -> Tensor:
    """The centre of each image, enlarged by a factor to the whole (bilinear, corners on corners)."""
    size = images.shape[-1]
    kept = math.ceil(size / factor)
    start, grown = (size - kept) // 2, round(kept * factor)
    centre = images[..., start : start + kept, start : start + kept]
    cut = (grown - size) // 2
    resized = F.interpolate(centre, size=(grown, grown), mode="bilinear", align_corners=True)
    return resized[..., cut : cut + size, cut : cut + size]


def _by_table(images: Tensor, end: float) -> Tensor:
    size = images.shape[-1]
    flat = images.float().reshape(-1, size * size)
    summed = torch.empty(flat.shape)
    for row, (first, table) in enumerate(_zoom_tables(size, end)):
        summed[:, row * size : (row + 1) * size] = flat[:, first : first + len(table)] @ table
    return summed.reshape(images.shape)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _zoom_tables(size: int, end: float) -> list[tuple[int, Tensor]]:
    """For each row of the result: the first flat pixel that it needs, and weights (pixels, size).

    Weights are whole multiples of 2**-16 with sum 1 for each pixel, so that no sum is ever rounded, whatever the
    order in which a matrix product takes it.
    """
    # images of one bright column each show what enlarging does along a side
    columns = torch.eye(size, dtype=torch.float64)[:, None, None].expand(size, 1, size, size)
    enlargements = [enlarged(columns, float(factor))[:, 0, 0].T for factor in np.arange(1, end, FACTOR_STEP)]
    sides = np.stack([np.eye(size), *enlargements])
    tables = []
    for row in sides.transpose(1, 0, 2):
        used = np.flatnonzero(row.any(axis=0))
        band = row[:, used[0] : used[-1] + 1]
        weights = np.einsum("kr,kxc->rcx", band, sides).reshape(-1, size) / len(sides)
        whole = np.rint(weights * 2**WEIGHT_BITS)
        whole[whole.argmax(axis=0), np.arange(size)] += 2**WEIGHT_BITS - whole.sum(axis=0)
        tables.append((int(used[0]) * size, torch.from_numpy(whole / 2**WEIGHT_BITS).float()))
    return tables
