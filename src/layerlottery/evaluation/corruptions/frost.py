"""Textures of ice for the corruption frost, made by formula: the published ones are five files of photographs.

Each texture is the sum of six octaves of ridged noise (creases where interpolated noise crosses its middle value, as
in Musgrave's ridged multifractals), whose octaves, means and deviations are those of one published file after its
reduction to a fifth: mean and standard deviation of each channel, and the slope of the radial power spectrum of 32x32
pieces. Different are the shapes: no crystals or streaks, the third texture is a place of its own (the published second
and third file are the same), and one pattern colours all channels (in the first file red goes partly its own way).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from layerlottery.evaluation.corruptions.constants import pixel_scale
from layerlottery.evaluation.corruptions.pixels import Floats, grey

SIDE = 128  # pixels; the reduced files have 63x112 to 120x180
OCTAVES, COARSEST = 6, 4  # cells a side of the coarsest octave, doubled at each
SLOWEST = 4  # points a side of the slow changes
SEED = 2019
BRIGHTEST = 3.5  # deviations at which the pattern ends


class Ice(NamedTuple):
    """Of one texture: its octaves, and mean and standard deviation of red, green and blue."""

    gain: float  # from an octave to the next finer
    drift: float  # part of the deviation that changes slowly, from one 32x32 piece to another
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


TEXTURES = (
    Ice(1.40, 0.75, (0.304, 0.584, 0.650), (0.105, 0.064, 0.060)),
    Ice(1.75, 0.40, (0.787, 0.805, 0.841), (0.084, 0.087, 0.089)),
    Ice(1.75, 0.50, (0.787, 0.805, 0.841), (0.084, 0.087, 0.089)),
    Ice(2.40, 0.35, (0.541, 0.601, 0.649), (0.114, 0.114, 0.119)),
    Ice(1.50, 0.40, (0.440, 0.483, 0.528), (0.174, 0.169, 0.163)),
)


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def textures(size: int, channels: int) -> Tensor:
    """The textures for images of a size: uint8 (5, C, side, side), enlarged with images above 32 pixels a side."""
    patterns = [_ice(ice, np.random.default_rng((SEED, number))) for number, ice in enumerate(TEXTURES)]
    ice = torch.from_numpy(np.stack(patterns))
    if channels == 1:
        ice = grey(ice)
    side = round(SIDE * pixel_scale(size))
    if side > SIDE:
        ice = F.interpolate(ice, size=(side, side), mode="bilinear", align_corners=False)
    return ice.clamp_(0, 1).mul_(255).round_().to(torch.uint8)


def _ice(ice: Ice, source: np.random.Generator) -> Floats:
    octaves = [ice.gain**octave * _ridges(COARSEST << octave, source) for octave in range(OCTAVES)]
    slow = _standard(_interpolated(SLOWEST, source, mode="bicubic"))
    pattern = _standard(np.sum(octaves, axis=0)) * (1 - ice.drift**2) ** 0.5 + slow * ice.drift
    pattern = np.clip(_standard(pattern), -BRIGHTEST, BRIGHTEST)
    return np.stack([mean + deviation * pattern for mean, deviation in zip(ice.mean, ice.deviation, strict=True)])


def _ridges(cells: int, source: np.random.Generator) -> Floats:
    return _standard(1 - np.abs(2 * _interpolated(cells + 1, source, mode="bilinear") - 1))


def _interpolated(points: int, source: np.random.Generator, *, mode: str) -> Floats:
    """Noise between 0 and 1 at points x points, and what lies between them: (SIDE, SIDE)."""
    grid = torch.from_numpy(source.random((1, 1, points, points)))
    return F.interpolate(grid, size=(SIDE, SIDE), mode=mode, align_corners=True)[0, 0].numpy()


def _standard(values: Floats) -> Floats:
    standard: Floats = (values - values.mean()) / values.std()
    return standard
