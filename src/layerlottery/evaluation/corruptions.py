"""Common corruptions with the constants of CIFAR-10-C (Hendrycks & Dietterich 2019, arXiv:1903.12261), in numpy.

Every operation takes uint8 images (N, C, H, W) with 1 or 3 channels and at least 8 pixels a side, a severity
from 1 to 5 and one random generator an image, and returns uint8 images of the same shape. As in the
published files, values are clipped to [0, 1], scaled to 255 and truncated, not rounded.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from layerlottery.data.prepared import Images
from layerlottery.errors import LayerLotteryError
from layerlottery.results.hashing import derived_seed

Generators = Iterable[np.random.Generator]
Operation = Callable[[Images, int, Generators], Images]

REFERENCE_SIZE = 32  # pixels a side of the images that the constants were chosen for
SMALLEST_SIZE = 8

CONSTANTS: dict[str, tuple[float, ...]] = {
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),  # standard deviation
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1.0),  # standard deviation, pixels at 32x32
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),  # added to V of HSV
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),  # factor
    "jpeg": (80, 65, 58, 50, 40),  # quality
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),  # share of the pixels that a side keeps
}


def gaussian_noise(images: Images, severity: int, generators: Generators) -> Images:
    """Independent normal noise on every value."""
    values = _unit(images)
    for value, generator in zip(values, generators, strict=True):
        value += _constant("gaussian_noise", severity) * generator.standard_normal(value.shape)
    return _truncate(values)


def gaussian_blur(images: Images, severity: int, generators: Generators) -> Images:
    """Gaussian filter over height and width, edges repeated, cut off at 4 standard deviations.

    The standard deviation is a distance in pixels, so it grows with size/32. It does not shrink below 32: at
    8x8 it would fall to 0.1..0.25 pixels, where the sampled filter is the identity and only truncation shows.
    """
    from scipy import ndimage

    sigma = _constant("gaussian_blur", severity) * max(1.0, min(images.shape[2:]) / REFERENCE_SIZE)
    blurred = ndimage.gaussian_filter(_unit(images), (0, 0, sigma, sigma), mode="nearest", truncate=4.0)
    return _truncate(blurred)


def brightness(images: Images, severity: int, generators: Generators) -> Images:
    """A constant added to V of HSV, hue and saturation kept; on grey images it is simply added."""
    values = _unit(images)
    before = values.max(axis=1, keepdims=True)
    after = np.minimum(before + _constant("brightness", severity), 1)
    # with hue and saturation fixed a colour is proportional to V; black has no saturation and turns grey
    share = np.divide(values, before, out=np.ones_like(values), where=before > 0)
    return _truncate(share * after)


def contrast(images: Images, severity: int, generators: Generators) -> Images:
    """Distances to the mean of each image and channel shrink by a factor."""
    values = _unit(images)
    means = values.mean(axis=(2, 3), keepdims=True)
    return _truncate((values - means) * _constant("contrast", severity) + means)


def jpeg(images: Images, severity: int, generators: Generators) -> Images:
    """JPEG compression."""
    quality = int(_constant("jpeg", severity))

    def compress(image: Image.Image) -> Image.Image:
        held = io.BytesIO()
        image.save(held, "JPEG", quality=quality)
        return Image.open(held)

    return _each(images, compress)


def pixelate(images: Images, severity: int, generators: Generators) -> Images:
    """Box-filtered to a share of the size, in whole pixels, and back.

    The share is relative, so it is the same for every size; at 8x8 its five values leave 7, 7, 6, 6 and 5 pixels.
    """
    share = _constant("pixelate", severity)

    def coarsen(image: Image.Image) -> Image.Image:
        small = (int(image.width * share), int(image.height * share))
        return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.BOX)

    return _each(images, coarsen)


OPERATIONS: dict[str, Operation] = {
    "gaussian_noise": gaussian_noise,
    "gaussian_blur": gaussian_blur,
    "brightness": brightness,
    "contrast": contrast,
    "jpeg": jpeg,
    "pixelate": pixelate,
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
    _constant(name, severity)
    _check(images)
    places = range(len(images)) if indices is None else indices
    if len(places) != len(images):
        raise LayerLotteryError(f"corruption {name}: {len(places)} indices given for {len(images)} images")
    return OPERATIONS[name](images, severity, _generators(derived_seed("corrupt", seed, name, severity), places))


def _generators(key: int, places: Iterable[int]) -> Iterator[np.random.Generator]:
    # an image's place is the second word of Philox's counter; the first alone lasts for 2**64 blocks
    for place in places:
        yield np.random.Generator(np.random.Philox(key=key, counter=int(place) << 64))


def _check(images: npt.NDArray[Any]) -> None:
    shape = images.shape
    if images.dtype != np.uint8 or len(shape) != 4 or shape[1] not in (1, 3) or min(shape[2:]) < SMALLEST_SIZE:
        raise LayerLotteryError(
            f"images to corrupt are {images.dtype} {shape}; allowed is uint8 (N, C, H, W) "
            f"with C 1 or 3 and H and W at least {SMALLEST_SIZE}"
        )


def _constant(name: str, severity: int) -> float:
    constants = CONSTANTS[name]
    if severity not in range(1, len(constants) + 1):
        raise LayerLotteryError(f"corruption {name}: severity {severity!r}; allowed are 1 to {len(constants)}")
    return constants[severity - 1]


def _unit(images: Images) -> npt.NDArray[np.float64]:
    return images / 255.0


def _truncate(values: npt.NDArray[np.float64]) -> Images:
    return (np.clip(values, 0, 1) * 255).astype(np.uint8)


def _each(images: Images, change: Callable[[Image.Image], Image.Image]) -> Images:
    changed = np.empty_like(images)
    for source, target in zip(images, changed, strict=True):
        grey = len(source) == 1
        result = np.asarray(change(Image.fromarray(source[0] if grey else np.moveaxis(source, 0, -1))))
        target[:] = result if grey else np.moveaxis(result, -1, 0)
    return changed
