"""Noise that strikes each value alone.

A value has 256 levels before and after, so such noise is a table of 256x256 probabilities, which are exact, and one
random number a value picks from its row (Walker's alias method, as Vose 1991 builds it, for all rows at once).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from layerlottery.evaluation.corruptions.pixels import Floats, Generators

LEVELS = np.arange(256)


def transitions(name: str, constant: float) -> Floats:
    """Probabilities (256, 256) that a level (row) becomes another (column), clipped and truncated.

    gaussian_noise is normal on every value, speckle_noise in proportion to the value; shot_noise counts photons
    (Poisson), whose mean is the value times those of a white pixel; impulse_noise turns a share of the values black or
    white with equal chances.
    """
    if name == "impulse_noise":
        table = np.eye(256) * (1 - constant)
        table[:, [0, 255]] += constant / 2
        return table
    if name == "shot_noise":
        below = _poisson(constant)
    else:
        below = _normal(np.full(256, constant) if name == "gaussian_noise" else constant * LEVELS / 255)
    return np.diff(below, axis=1, prepend=0, append=1)


def _normal(deviations: Floats) -> Floats:
    """Probabilities (256, 255) that a level stays below 1, 2, …, 255."""
    from scipy.special import ndtr

    # a level k holds what lies in [k, k + 1); the first and the last also what is clipped
    distances = (LEVELS[None, 1:] - LEVELS[:, None]) / 255
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(deviations[:, None] > 0, ndtr(distances / deviations[:, None]), distances > 0)


def _poisson(photons: float) -> Floats:
    """As `_normal`."""
    from scipy.special import pdtr

    # the count from which on a level is reached, by the very division that turns counts into levels
    counts = np.arange(int(photons) + 1)
    first = np.searchsorted((counts / photons * 255).astype(np.uint8), LEVELS[1:])
    means = LEVELS[:, None] / 255 * photons
    return np.where(first > 0, pdtr(first - 1, means), 0)


@lru_cache(maxsize=32)
def alias_table(name: str, constant: float) -> npt.NDArray[np.uint32]:
    """(256 * 256,): above, in 24 bits, the chance to stay in a column; below, in 8, the level to take otherwise."""
    left = transitions(name, constant) * 256
    table = np.zeros((256, 256), dtype=np.uint32)
    lows, highs = left.copy(), left
    for _ in range(256):
        low, high = lows.argmin(axis=1), highs.argmax(axis=1)
        chance = lows[LEVELS, low]
        whole = np.minimum(np.maximum(chance, 0) * 2**24, 2**24 - 1).astype(np.uint32)
        # at chance 1 a column is its own alias, and the missing 2**-24 does not matter
        table[LEVELS, low] = (whole << 8) | np.where(chance >= 1, low, high).astype(np.uint32)
        lows[LEVELS, high] -= 1 - chance
        highs[LEVELS, high] = lows[LEVELS, high]
        lows[LEVELS, low], highs[LEVELS, low] = np.inf, -np.inf
    return table.ravel()


def noise(images: Tensor, generators: Generators, constant: float, *, name: str) -> Tensor:
    """Images whose levels are drawn by the table of the named noise."""
    levels = images.numpy().reshape(len(images), -1)
    words = -(-levels.shape[1] // 2)
    drawn = np.empty((len(levels), words), dtype=np.uint64)
    for row, generator in zip(drawn, generators, strict=True):
        row[:] = generator.bit_generator.random_raw(words)
    bits = drawn.astype("<u8", copy=False).view(np.uint32)[:, : levels.shape[1]]
    return torch.from_numpy(pick(alias_table(name, constant), levels, bits)).reshape(images.shape)


def pick(
    table: npt.NDArray[np.uint32], levels: npt.NDArray[np.uint8], bits: npt.NDArray[np.uint32]
) -> npt.NDArray[np.uint8]:
    """The level that follows each level, by 32 random bits each: 8 for a column, 24 against its chance."""
    columns = bits.astype(np.uint8)
    places = levels.astype(np.int64)
    places <<= 8
    places |= columns
    entries = table.take(places, mode="clip")
    return np.where((bits >> 8) < (entries >> 8), columns, entries.astype(np.uint8))
