"""From image files to uint8 arrays: one place for the conversion that Parquet sets and image folders share."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from layerlottery.data.prepared import Images, Split
from layerlottery.errors import LayerLotteryError
from layerlottery.settings import Located

log = logging.getLogger(__name__)

_MODES = {1: "L", 3: "RGB"}
_GREY = frozenset({"1", "L", "LA", "La"})
# whatever a file is called: Pillow knows more formats, and starts another program for PostScript
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
_PROGRESS_EVERY = 10_000


@dataclass(frozen=True)
class Decoded:
    """What a loader returns: every image of a set, before any is left out."""

    classes: tuple[str, ...]
    train: Split
    test: Split
    shifted: dict[str, Split]


@dataclass(frozen=True)
class Form:
    """The form all images of a set take; None follows the first image that is decoded."""

    image_size: int | None
    channels: Literal[1, 3] | None

    @classmethod
    def wanted(cls, settings: Located) -> Form:
        return cls(settings.image_size, settings.channels)

    def followed_by(self, split: Split) -> Form:
        """The form for the later splits of the set: they take the channels that this one has."""
        return Form(self.image_size, 1 if split.images.shape[1] == 1 else 3)


def decode(source: bytes | Path, form: Form, name: str) -> Images:
    """One image as uint8 (C, H, W), converted to L or RGB, then resized bilinearly if `form` has a size.

    `name` says which image it is in the LayerLotteryError raised when it can't be decoded or is not square.
    """
    image = _open(source, form.channels, name)
    if form.image_size is not None:
        image = _scaled(image, form.image_size)
    elif image.width != image.height:
        found = f"{image.width}x{image.height}"
        raise LayerLotteryError(f"{name}: {found} pixels, not square; set image_size to resize all images")
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def resize(images: Images, size: int) -> Images:
    """Colour images, uint8 (N, 3, H, W), as uint8 (N, 3, size, size): each as `decode` resizes one from a file."""
    if images.shape[2:] == (size, size):
        return images
    resized = np.empty((len(images), 3, size, size), dtype=np.uint8)
    for image, target in zip(images, resized, strict=True):
        colours = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        target[:] = np.asarray(_scaled(colours, size)).transpose(2, 0, 1)
    return resized


def _scaled(image: Image.Image, size: int) -> Image.Image:
    return image.resize((size, size), Image.Resampling.BILINEAR)


def _open(source: bytes | Path, channels: int | None, name: str) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # a file of a few bytes may claim an image that fills the memory
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS) as held:
                mode = held.mode
                image = held.convert(_MODES[channels or (1 if mode in _GREY else 3)])
    # a broken file makes Pillow raise nearly anything: OSError, SyntaxError, struct.error, …
    except Exception as error:
        raise LayerLotteryError(f"{name}: not a readable image ({type(error).__name__})") from error
    if mode.startswith(("I", "F")):
        # converting these clips at 255, which would turn most of such an image white without a word
        raise LayerLotteryError(f"{name}: its pixels are of mode {mode}, allowed are 8 bits a channel")
    return image


def decode_all(sources: Iterable[tuple[str, bytes | Path]], count: int, form: Form) -> Images:
    """`count` named images as uint8 (N, C, H, W), all in the form of the first.

    Raises LayerLotteryError naming the first image that can't be read or whose size differs.
    """
    images: Images | None = None
    for i, (name, source) in enumerate(sources):
        if images is None:
            first = decode(source, form, name)
            images = np.empty((count, *first.shape), dtype=np.uint8)
            images[0] = first
            form = Form(form.image_size, 1 if len(first) == 1 else 3)
        else:
            images[i] = _alike(decode(source, form, name), images, name)
        if (i + 1) % _PROGRESS_EVERY == 0:
            log.info("decoded %d of %d images", i + 1, count)
    if images is None:
        raise ValueError("no images to decode")
    return images


def _alike(image: Images, images: Images, name: str) -> Images:
    if image.shape != images.shape[1:]:
        found, first = image.shape[-1], images.shape[-1]
        raise LayerLotteryError(
            f"{name}: {found}x{found} pixels, the first image has {first}x{first}; set image_size to resize all images"
        )
    return image
