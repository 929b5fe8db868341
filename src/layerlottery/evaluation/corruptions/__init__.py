"""The 19 common corruptions of CIFAR-10-C (Hendrycks & Dietterich 2019, arXiv:1903.12261), for batches, in torch.

Every operation takes uint8 images (N, C, H, W) with 1 or 3 channels and H = W of at least 8, one random generator an
image and the constants of a severity, and returns uint8 images of the same shape. As in the published files, values
are clipped to [0, 1], scaled to 255 and truncated, not rounded (JPEG and pixelate round, there and here).

Size: the constants were chosen for 32x32. Those that are distances in pixels (widths and radii of blurs, the reach of
glass, the grain of frost) grow with size/32 above 32 and stay as they are below, because a blur of a quarter of a
pixel changes nothing. Those that are shares of the image (elastic, pixelate, zoom, fog) go with the size always.

Frost: the published textures are photographs; these are made by formula, see `frost`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from layerlottery.data.prepared import Images
from layerlottery.errors import LayerLotteryError
from layerlottery.evaluation.corruptions import blur, digital, geometry, noise, spatter, weather
from layerlottery.evaluation.corruptions.constants import CONSTANTS, SMALLEST_SIZE, constants
from layerlottery.evaluation.corruptions.pixels import Operation, generators
from layerlottery.store.hashing import derived_seed

CHUNK = 64 * 3 * 32 * 32  # values corrupted at a time, few enough to stay in a processor's cache

_NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
_OTHERS: tuple[Operation, ...] = (
    *(blur.defocus_blur, blur.glass_blur, blur.motion_blur, blur.zoom_blur, blur.gaussian_blur),
    *(weather.snow, weather.frost, weather.fog, spatter.spatter, geometry.elastic_transform),
    *(digital.brightness, digital.contrast, digital.pixelate, digital.jpeg_compression, digital.saturate),
)
_NAMED = {name: partial(noise.noise, name=name) for name in _NOISES} | {one.__name__: one for one in _OTHERS}
OPERATIONS: dict[str, Operation] = {name: _NAMED[name] for name in CONSTANTS}


def corrupt_images(
    images: Images, *, name: str, severity: int, seed: int, indices: Sequence[int] | npt.NDArray[np.intp] | None = None
) -> Images:
    """Corrupt uint8 images (N, C, H, W): the same shape and type.

    Image i's result follows from (seed, name, severity, indices[i]) and the image alone, not from the others in
    the call. `indices` are the images' places in their test set; by default their places in the call.
    Raises LayerLotteryError on an unknown name or severity, or images of another type or shape.
    """
    if name not in OPERATIONS:
        raise LayerLotteryError(f"corruption {name!r} is unknown; allowed: {', '.join(OPERATIONS)}")
    chosen = constants(name, severity)
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
        corrupted[part] = OPERATIONS[name](given, generators(key, places[part]), *chosen).numpy()
    return corrupted


def _check(images: npt.NDArray[Any]) -> None:
    shape = images.shape
    square = len(shape) == 4 and shape[2] == shape[3] >= SMALLEST_SIZE
    if images.dtype != np.uint8 or not square or shape[1] not in (1, 3):
        raise LayerLotteryError(
            f"images to corrupt are {images.dtype} {shape}; allowed: uint8 (N, C, H, W) "
            f"with C 1 or 3 and H = W of at least {SMALLEST_SIZE}"
        )
