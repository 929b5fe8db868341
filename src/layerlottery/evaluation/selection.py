"""Which test images a stage takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from layerlottery.data.prepared import Labels, balanced_subset


def select_images(labels: Labels, images: int | None, *, seed: int) -> npt.NDArray[np.intp]:
    """Sorted indices of `images` images, balanced over classes; all of them if `images` is None or exceeds them."""
    if images is None or images >= len(labels):
        return np.arange(len(labels))
    return balanced_subset(labels, images, seed, key="images")
