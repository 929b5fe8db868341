"""Elastic transform: a random affine map and a smooth random displacement."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from layerlottery.evaluation.corruptions.pixels import Floats, Generators, gaussian_weights

CUT = 3  # sigmas at which the displacement's smoothing ends
MARGIN = 2.0**-10  # of a level
DRAW_BITS, WEIGHT_BITS = 20, 16  # 20 + 16 + 16 bits are less than the 53 of float64: sums are exact


def elastic_transform(images: Tensor, generators: Generators, *shares: float) -> Tensor:
    """Affine map and displacements whose constants are shares of the size, at every size."""
    size = images.shape[-1]
    strength, sigma, shift = (value * size for value in shares)
    corners, fields = [], []
    for source in generators:
        corners.append(source.uniform(-shift, shift, (3, 2)))
        if strength:
            fields.append(source.integers(-(2**DRAW_BITS), 2**DRAW_BITS, (2, size, size), dtype=np.int32))
    moved = mapped(images.float(), np.stack(corners))
    if fields:
        moved = displaced(moved, smooth(np.stack(fields), sigma).mul_(strength))
    # in float32 four weights may miss their sum of 1 by a little, which must not cost a flat region a level
    return moved.add_(MARGIN).clamp_(0, 255).to(torch.uint8)


def mapped(values: Tensor, shifts: Floats) -> Tensor:
    """The affine maps that move three corners of a square by `shifts` (N, 3, 2; right, down; pixels).

    Bilinear; the image is mirrored at its edges, the edge pixel not repeated. The corners are those of a square of
    a third of the size about the centre: lower right, upper right, upper left.
    """
    size = values.shape[-1]
    centre, half = size // 2, size // 3
    corners = np.array([[half, half], [half, -half], [-half, -half]]) + centre
    moved = corners + shifts
    # columns of the map: where a step right and a step down go
    right, down = (moved[:, 1] - moved[:, 2]) / (2 * half), (moved[:, 0] - moved[:, 1]) / (2 * half)
    area = right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]
    grid = np.arange(size, dtype=float)
    # each pixel looks back to where it comes from
    across = grid[None, None, :] - moved[:, 2, 0, None, None]
    along = grid[None, :, None] - moved[:, 2, 1, None, None]
    x, y = ((side / area[:, None])[..., None, None] for side in (down, right))
    source_x = (across * x[:, 1] - along * x[:, 0]) + corners[2, 0]
    source_y = (along * y[:, 0] - across * y[:, 1]) + corners[2, 1]
    return _sampled(values, source_x, source_y, repeated=False)


def smooth(fields: npt.NDArray[np.int32], sigma: float) -> Tensor:
    """Fields (N, 2, H, W) of whole numbers, divided by 2**20 and filtered by a Gaussian, edges mirrored."""
    weights = _smoothing(fields.shape[-1], sigma)
    across = torch.from_numpy(fields).double() @ weights.T
    return (weights @ across).mul_(2.0 ** -(DRAW_BITS + 2 * WEIGHT_BITS))


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _smoothing(size: int, sigma: float) -> Tensor:
    """Weights (size, size) of the filter along one side, whole multiples of 2**-16, times 2**16."""
    half = gaussian_weights(sigma, CUT)
    weights = np.zeros((size, size))
    rows = np.arange(size)
    for distance in range(1 - len(half), len(half)):
        places = (rows + distance) % (2 * size)
        np.add.at(weights, (rows, np.minimum(places, 2 * size - 1 - places)), half[abs(distance)])
    return torch.from_numpy(np.rint(weights * 2**WEIGHT_BITS))


def displaced(values: Tensor, displacements: Tensor) -> Tensor:
    """Images (N, C, H, W) read at displaced places (N, 2, H, W; right, down; pixels), edge pixels mirrored."""
    grid = np.arange(values.shape[-1], dtype=float)
    right, down = displacements.numpy()[:, 0], displacements.numpy()[:, 1]
    return _sampled(values, right + grid, down + grid[:, None], repeated=True)


def _sampled(values: Tensor, x: Floats, y: Floats, *, repeated: bool) -> Tensor:
    """Bilinear samples at places in pixels; mirrored at the pixels' outer edges (`repeated`) or at their middles."""
    size = values.shape[-1]
    places = np.stack([x, y], axis=-1)
    places = (2 * places + 1) / size - 1 if repeated else 2 * places / (size - 1) - 1
    grid = torch.from_numpy(places).float()
    return F.grid_sample(values, grid, mode="bilinear", padding_mode="reflection", align_corners=not repeated)
