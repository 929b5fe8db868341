"""Arithmetic that the operations share: scales, random generators, filters, windows.

Only additions, products and comparisons whose order is fixed are used on pixels, or sums that are exact, so that
an image's result has the same bits in any company and with any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Generators = Iterable[np.random.Generator]
Operation = Callable[..., Tensor]  # of images, generators and the constants of a severity
Floats = npt.NDArray[np.float64]

GREY = (0.299, 0.587, 0.114)  # luma of red, green and blue (ITU-R BT.601)


def generators(key: int, places: Iterable[int]) -> Iterator[np.random.Generator]:
    """One generator moved from image to image: draw from it before the next is asked for.

    An image's place is the second word of Philox's counter; the first alone lasts for 2**64 blocks.
    """
    bits = np.random.Philox(key=key)
    generator, state = np.random.Generator(bits), bits.state
    counter = state["state"]["counter"]
    for place in places:
        counter[:] = 0, int(place), 0, 0
        bits.state = state
        yield generator


def drawn(sources: Generators, draw: Callable[[np.random.Generator], npt.ArrayLike]) -> npt.NDArray[np.generic]:
    """The draws from each image's generator, stacked."""
    return np.stack([np.asarray(draw(source)) for source in sources])


def unit(images: Tensor) -> Tensor:
    """Values in [0, 1], float64."""
    return images.double().div_(255)


def truncate(values: Tensor) -> Tensor:
    """Clipped to [0, 1], scaled to 255 and truncated, not rounded; changes its argument."""
    return values.clamp_(0, 1).mul_(255).to(torch.uint8)


def grey(values: Tensor) -> Tensor:
    """Luma of colour images (N, 3, H, W) as (N, 1, H, W); grey images as they are."""
    if values.shape[1] == 1:
        return values
    red, green, blue = values.split(1, dim=1)
    luma: Tensor = red * GREY[0] + green * GREY[1] + blue * GREY[2]
    return luma


def tint(channels: int, colour: tuple[float, float, float]) -> Tensor:
    """A colour (0..255) as (1, C, 1, 1) in [0, 1]: its luma for grey images."""
    values = torch.tensor(colour, dtype=torch.float64).reshape(1, 3, 1, 1) / 255
    return values if channels == 3 else grey(values)


def bordered(values: Tensor, reach: int, mode: Literal["edge", "reflect"]) -> Tensor:
    """Images (N, C, H, W) with `reach` pixels more at each side: edges repeated, or mirrored about the edge pixel."""
    # torch's own padding takes no whole numbers
    return torch.from_numpy(np.pad(values.numpy(), [(0, 0), (0, 0), (reach, reach), (reach, reach)], mode))


def gaussian_weights(sigma: float, cut: float) -> list[float]:
    """Sampled normal density at 0, 1, ... radius, where radius is `cut` sigmas; with its mirror image it sums to 1."""
    radius = int(cut * sigma + 0.5)
    weights = np.exp(-0.5 / max(sigma, 1e-12) ** 2 * np.arange(-radius, radius + 1) ** 2.0)
    return list((weights / weights.sum())[radius:])


def gaussian_filter(values: Tensor, sigma: float) -> Tensor:
    """Gaussian over the last two dimensions, edges repeated, cut off at 4 sigmas (as scipy.ndimage's, to the bit)."""
    centre, *weights = gaussian_weights(sigma, 4)
    radius, size = len(weights), values.shape[-1]
    if not radius:
        return values
    values = bordered(values, radius, "edge")
    for axis in (-2, -1):
        padded = values
        values = padded.narrow(axis, radius, size) * centre
        for distance in range(radius, 0, -1):
            pair = padded.narrow(axis, radius - distance, size) + padded.narrow(axis, radius + distance, size)
            values.add_(pair.mul_(weights[distance - 1]))
    return values


def windows(planes: Tensor, starts: Tensor, *, size: int) -> Tensor:
    """Square windows of each image: (N, C, size, size) out of (M, C, P, P), at flat places `starts` (N,) of planes."""
    channels, side = planes.shape[1], planes.shape[-1]
    last = planes.numel() - ((channels - 1) * side + size - 1) * side - size
    view = planes.as_strided((last + 1, channels, size, size), (1, side * side, side, 1))
    return view.index_select(0, starts)
