"""The operations by name, and the call that the stages use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from layerlottery.data.prepared import Images
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.corruptions import blur, digital, geometry, weather
from layerlottery.evaluation.corruptions.constants import SMALLEST_SIZE, constants
from layerlottery.evaluation.corruptions.noise import noise
from layerlottery.evaluation.corruptions.pixels import Operation, generators
from layerlottery.evaluation.corruptions.spatter import spatter
from layerlottery.store.hashing import derived_seed

CHUNK = 64 * 3 * 32 * 32  # values corrupted at a time, few enough to stay in a processor's cache

OPERATIONS: dict[str, Operation] = {
    "gaussian_noise": partial(noise, name="gaussian_noise"),
    "shot_noise": partial(noise, name="shot_noise"),
    "impulse_noise": partial(noise, name="impulse_noise"),
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic_transform": geometry.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": partial(noise, name="speckle_noise"),
    "gaussian_blur": blur.gaussian_blur,
    "spatter": spatter,
    "saturate": digital.saturate,
}


def corrupt_images(
    images: Images, *, name: str, severity: int, seed: int, indices: Sequence[int] | npt.NDArray[np.intp] | None = None
) -> Images:
    """Corrupt uint8 images (N, C, H, W): the same shape and type.

    Image i's result follows from (seed, name, severity, indices[i]) and the image alone, not from the others in
    the call. `indices` are the images' places in their test set; by default their places in the call.
    Raises LayerLotteryError on an unknown name or severity, or images of another type or shape.
    """
    if name not in OPERATIONS:
        raise LayerLotteryError(f"corruption {name!r} is unknown; allowed are {', '.join(OPERATIONS)}")
    constants(name, severity)
    _check(images)
    places = range(len(images)) if indices is None else indices
    if len(places) != len(images):
        raise LayerLotteryError(f"corruption {name}: {len(places)} indices given for {len(images)} images")
    key = derived_seed("corrupt", seed, name, severity)
    corrupted = np.empty(images.shape, dtype=np.uint8)
    chunk = max(1, CHUNK // max(1, images[:1].size))
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        # a copy: the caller's array may be read-only, or a view with strides that torch does not take
        given = torch.from_numpy(np.array(images[part], order="C"))
        corrupted[part] = OPERATIONS[name](given, severity, generators(key, places[part])).numpy()
    return corrupted


def _check(images: npt.NDArray[Any]) -> None:
    shape = images.shape
    square = len(shape) == 4 and shape[2] == shape[3] >= SMALLEST_SIZE
    if images.dtype != np.uint8 or not square or shape[1] not in (1, 3):
        raise LayerLotteryError(
            f"images to corrupt are {images.dtype} {shape}; allowed is uint8 (N, C, H, W) "
            f"with C 1 or 3 and H = W of at least {SMALLEST_SIZE}"
        )
