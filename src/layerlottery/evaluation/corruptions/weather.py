"""Snow, frost and fog."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from layerlottery.evaluation.corruptions.blur import blurred_along, enlarged
from layerlottery.evaluation.corruptions.constants import pixel_scale
from layerlottery.evaluation.corruptions.frost import textures
from layerlottery.evaluation.corruptions.pixels import Floats, Generators, drawn, grey, truncate, unit, windows

ROUGHNESS = 100.0  # of fog's first level


def snow(images: Tensor, generators: Generators, *constants: float) -> Tensor:
    """Flakes blurred along a steep random direction, added twice (turned by 180 degrees), on a whitened image."""
    size = images.shape[-1]

    def draw(source: np.random.Generator) -> Floats:
        flakes = source.standard_normal(size * size + 1)
        flakes[-1] = source.uniform(-135, -45)
        return flakes

    draws = drawn(generators, draw)
    layers = torch.from_numpy(draws[:, :-1]).reshape(-1, 1, size, size)
    return snowed(images, layers, draws[:, -1].astype(float), *constants)


def snowed(images: Tensor, layers: Tensor, angles: Floats, *constants: float) -> Tensor:
    """Snow by given standard normal layers (N, 1, H, W) and angles (N,) in degrees."""
    mean, deviation, zoom, threshold, radius, sigma, kept = constants
    scale = pixel_scale(images.shape[-1])
    flakes = enlarged(layers * deviation + mean, zoom)
    flakes = truncate(flakes.masked_fill(flakes < threshold, 0))
    flakes = unit(blurred_along(flakes, angles, radius=radius * scale, sigma=sigma * scale))
    values = unit(images)
    whitened = torch.maximum(values, grey(values) * 1.5 + 0.5)
    return truncate(values * kept + whitened * (1 - kept) + flakes + flakes.flip(2, 3))


def frost(images: Tensor, generators: Generators, share: float, strength: float) -> Tensor:
    """The weighted sum of the image and of a random place of one of five textures of ice."""
    size, channels = images.shape[-1], images.shape[1]
    ice = textures(size, channels)
    side = ice.shape[-1]
    # as in the published code a texture's last place is never taken
    limits = np.array([len(ice), side - size, side - size])
    which, rows, columns = drawn(generators, lambda source: source.integers(limits)).T.astype(np.int64)
    starts = torch.from_numpy((which * channels * side + rows) * side + columns)
    crops = windows(ice, starts, size=size)
    return images.double().mul_(share).add_(crops.double().mul_(strength)).clamp_(0, 255).to(torch.uint8)


def fog(images: Tensor, generators: Generators, strength: float, decay: float) -> Tensor:
    """A random fractal is added and the image darkened so that its greatest value stays.

    The fractal's side is the next power of two; of the other sizes it shows a corner.
    """
    size = images.shape[-1]
    side = 1 << (size - 1).bit_length()
    draws = torch.from_numpy(drawn(generators, lambda source: source.random(side * side - 1)))
    values = unit(images)
    greatest = values.amax(dim=(1, 2, 3), keepdim=True)
    values += plasma(draws.reshape(len(images), -1), side=side, decay=decay)[:, None, :size, :size] * strength
    return truncate(values * (greatest / (greatest + strength)))


def plasma(draws: Tensor, *, side: int, decay: float) -> Tensor:
    """Diamond-square fractals (N, side, side) with values from 0 to 1, on a torus; side a power of two.

    `draws` (N, side * side - 1) are uniform in [0, 1), taken level by level: middles of squares, then the middles
    of their upper edges, then those of their left edges. Roughness falls by `decay` a level.
    """
    heights = torch.zeros(len(draws), side, side, dtype=draws.dtype)
    step, rough, used = side, ROUGHNESS, 0

    def between(total: Tensor) -> Tensor:
        nonlocal used
        count = total.shape[1] * total.shape[2]
        chosen = draws[:, used : used + count].reshape(total.shape)
        used += count
        return total / 4 + (chosen * 2 - 1) * rough**2

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + corners.roll(-1, 1)
        middles = between(pairs + pairs.roll(-1, 2))
        upper = between(middles + middles.roll(1, 1) + (corners + corners.roll(-1, 2)))
        left = between(middles + middles.roll(1, 2) + (corners + corners.roll(-1, 1)))
        heights[:, half::step, half::step] = middles
        heights[:, ::step, half::step] = upper
        heights[:, half::step, ::step] = left
        step, rough = half, rough / decay
    heights -= heights.amin(dim=(1, 2), keepdim=True)
    return heights / heights.amax(dim=(1, 2), keepdim=True)
