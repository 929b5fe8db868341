"""Spatter: drops of water or mud on the lens.

Water needs, for each image, an edge detector, a distance from the edges and an equalized histogram. They are done
here for all images at once as OpenCV does them for one, whole number by whole number.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from layerlottery.evaluation.corruptions.constants import pixel_scale
from layerlottery.evaluation.corruptions.pixels import (
    Generators,
    bordered,
    drawn,
    gaussian_filter,
    tint,
    truncate,
    unit,
)

WATER, MUD = (175.0, 238.0, 238.0), (63.0, 42.0, 20.0)
WEAK, STRONG = 50, 150  # gradients from which on a pixel may be, and is, an edge
FARTHEST = 20  # pixels at which distances end
THIN = 0.8  # mud below is not seen
EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))
SOBEL = ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1))
NINE = ((1, 1, 1), (1, 1, 1), (1, 1, 1))

ONE = 2**16  # distances are whole multiples of 2**-16 pixel
STRAIGHT, DIAGONAL, KNIGHT = ONE, round(1.4 * ONE), round(2.1969 * ONE)  # Borgefors 1986, as OpenCV rounds them
FAR = 2**29
TANGENT = round((2**0.5 - 1) * 2**15)  # of 22.5 degrees, in 2**-15


def spatter(images: Tensor, generators: Generators, *constants: float) -> Tensor:
    """Drops of water (severities 1 to 3) or mud where a smooth random field is above a threshold."""
    size = images.shape[-1]
    layers = drawn(generators, lambda source: source.standard_normal((1, size, size)))
    return spattered(images, torch.from_numpy(layers).double(), *constants)


def spattered(images: Tensor, layers: Tensor, *constants: float) -> Tensor:
    """Spatter by given standard normal layers (N, 1, H, W)."""
    mean, deviation, sigma, threshold, last, mud = constants
    scale = pixel_scale(images.shape[-1])
    # smoothing over more pixels would leave less than the published share above the threshold
    liquid = gaussian_filter(layers * (deviation * scale) + mean, sigma * scale)
    values = unit(images)
    if mud:
        cover = gaussian_filter((liquid > threshold).double(), last * scale)
        cover = cover.masked_fill(cover < THIN, 0)
        return truncate(values * (1 - cover) + cover * tint(images.shape[1], MUD))
    drops = (liquid.masked_fill(liquid < threshold, 0) * 255).int() & 255  # a byte, which a value above 1 leaves again
    light = drops * _relief(drops)
    greatest = light.amax(dim=(2, 3), keepdim=True)
    shine = light.double() / greatest.clamp(min=1) * last
    return truncate(values + shine * tint(images.shape[1], WATER))


def _relief(drops: Tensor) -> Tensor:
    """Height of the drops (N, 1, H, W), whole numbers 0..255, embossed from the distance to their edges."""
    near = distances(edges(drops)).clamp_(max=FARTHEST * ONE)
    # the mean in float32, as OpenCV returns it, so that nine equal distances are not truncated below themselves
    mean = (_correlated(near, NINE).double() * (1 / (9 * ONE))).float().int()
    embossed = _correlated(equalized(mean), EMBOSS).clamp_(0, 255)
    return (_correlated(embossed, NINE) * 2 + 9) // 18  # a ninth, rounded


def edges(drops: Tensor) -> Tensor:
    """Canny's edges (1986) of levels (N, 1, H, W): gradients by Sobel, as sums of magnitudes."""
    from scipy.ndimage import binary_propagation

    across, down = (_correlated(drops, kernel, mode="edge") for kernel in (SOBEL, np.transpose(SOBEL)))
    strength = across.abs() + down.abs()
    padded = F.pad(strength, (1, 1, 1, 1))
    # gradients are at most 1020, so that nothing here leaves 32 bits
    x, y = across.abs(), down.abs() << 15
    flat = x * TANGENT
    steep = flat + (x << 16)
    up, below = _shifted(padded, 0, 1), _shifted(padded, 2, 1)
    left, right = _shifted(padded, 1, 0), _shifted(padded, 1, 2)
    falling = (across ^ down) >= 0
    before = torch.where(falling, _shifted(padded, 0, 0), _shifted(padded, 0, 2))
    after = torch.where(falling, _shifted(padded, 2, 2), _shifted(padded, 2, 0))
    peak = (strength > before) & (strength > after)
    peak = torch.where(y > steep, (strength > up) & (strength >= below), peak)
    peak = torch.where(y < flat, (strength > left) & (strength >= right), peak)
    weak = peak & (strength > WEAK)
    # weak edges that touch a strong one, a neighbour's neighbour included
    found = binary_propagation(weak & (strength > STRONG), [[NINE]], mask=weak)
    return torch.from_numpy(found.astype(np.uint8))


def distances(found: Tensor) -> Tensor:
    """Distances (N, 1, H, W) to the nearest edge in 2**-16 pixel, by steps to 16 neighbours (chamfer 5x5)."""
    start = np.where(found.numpy()[:, 0].transpose(1, 2, 0), 0, FAR).astype(np.int32)
    for _ in range(2):  # down and right, then up and left
        start = _swept(start)[::-1, ::-1]
    return torch.from_numpy(np.ascontiguousarray(start.transpose(2, 0, 1)))[:, None]


def _swept(start: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """One pass over (H, W, N): steps from the two rows above and from the left."""
    height, width, count = start.shape
    swept = np.full((height + 2, width + 4, count), FAR, dtype=np.int32)
    walked = (np.arange(width, dtype=np.int32) * STRAIGHT)[:, None]
    for row in range(height):
        above, farther = swept[row + 1], swept[row]
        knights = np.minimum(np.minimum(above[:-4], above[4:]), np.minimum(farther[1:-3], farther[3:-1]))
        best = np.minimum(start[row], above[2:-2] + STRAIGHT)
        np.minimum(best, np.minimum(above[1:-3], above[3:-1]) + DIAGONAL, out=best)
        np.minimum(best, knights + KNIGHT, out=best)
        # steps to the right: the least offer of a pixel at the left, all counted from the first column
        np.minimum.accumulate(best - walked, axis=0, out=best)
        swept[row + 2, 2:-2] = best + walked
    return swept[2:, 2:-2]


def equalized(levels: Tensor) -> Tensor:
    """Levels (N, 1, H, W), 0 to 20, spread over 0..255 by the share of pixels that are not above them."""
    count, pixels = len(levels), levels[0].numel()
    bins = FARTHEST + 1
    places = levels.flatten(1).long() + torch.arange(count)[:, None] * bins
    counts = torch.bincount(places.flatten(), minlength=count * bins).reshape(count, bins)
    least = counts.gather(1, levels.flatten(1).amin(dim=1, keepdim=True).long())
    scale = 255 / (pixels - least).clamp(min=1).float()
    spread = ((counts.cumsum(dim=1) - least).clamp(min=0).float() * scale).round().clamp_(0, 255).int()
    # an image of one level keeps it
    spread = torch.where(least == pixels, torch.arange(bins, dtype=torch.int32), spread)
    return spread.flatten().index_select(0, places.flatten()).reshape(levels.shape)


def _shifted(padded: Tensor, row: int, column: int) -> Tensor:
    size = padded.shape[-1] - 2
    return padded[:, :, row : row + size, column : column + size]


def _correlated(levels: Tensor, kernel: npt.ArrayLike, *, mode: Literal["edge", "reflect"] = "reflect") -> Tensor:
    """Whole numbers (N, 1, H, W) weighted by a kernel of 3x3."""
    padded, total = bordered(levels, 1, mode), torch.zeros_like(levels)
    for (row, column), weight in np.ndenumerate(np.asarray(kernel)):
        if weight:
            total += _shifted(padded, row, column) * int(weight)
    return total
