"""From image files to uint8 arrays: one place for the conversion that Parquet sets and image folders share."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from layerlottery.config.data import Fit, Located
from layerlottery.data.prepared import Images, Labels, Rows, Shape, Split, bounds_of_pieces
from layerlottery.errors import LayerLotteryError

log = logging.getLogger(__name__)

_MODES = {1: "L", 3: "RGB"}
_GREY = frozenset({"1", "L", "LA", "La"})
# whatever a file is called: Pillow knows more formats, and starts another program for PostScript
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
_PROGRESS_EVERY = 10_000


# an image file, or what it holds
Source = bytes | str | Path
# the named images at some rows, sorted, of a split
Read = Callable[[Rows], Iterator[tuple[str, Source]]]


@dataclass(frozen=True)
class Form:
    """The form all images of a set take; None follows the first image that is decoded."""

    image_size: int | None
    channels: Literal[1, 3] | None
    fit: Fit = "stretch"


@dataclass(frozen=True)
class Encoded:
    """A split whose images are decoded when they are asked for: no more than a piece of it is ever in memory.

    `name` says in the log where they come from. All take the shape of the split's first image.
    """

    name: str
    labels: Labels
    shape: Shape
    form: Form
    read: Read

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Images:
        """All images at once, uint8 (N, C, H, W): for sets that fit into the memory."""
        return np.concatenate([*self.pieces(np.arange(len(self)))])

    def pieces(self, rows: Rows) -> Iterator[Images]:
        """The images at `rows` (sorted), in their order, as uint8 (n, C, H, W), a piece at a time.

        Raises LayerLotteryError naming the first image that can't be read or whose size differs.
        """
        log.info("decoding %s", self.name)
        sources = self.read(rows)
        for start, end in bounds_of_pieces(rows, self.shape):
            piece = np.empty((end - start, *self.shape), dtype=np.uint8)
            for target in piece:
                called, source = next(sources)
                image = decode(source, self.form, called)
                if image.shape != self.shape:
                    found, first = (f"{side}x{side}" for side in (image.shape[-1], self.shape[-1]))
                    remedy = "set image_size to resize all images"
                    raise LayerLotteryError(f"{called}: {found} pixels, the first image has {first}; {remedy}")
                target[:] = image
            if end // _PROGRESS_EVERY > start // _PROGRESS_EVERY:
                log.info("decoded %d of %d images", end, len(rows))
            yield piece


# its labels are at hand, its images come piece by piece
AnySplit = Split | Encoded


@dataclass(frozen=True)
class Decoded:
    """A loader's result: every image of a set, before any is left out."""

    classes: tuple[str, ...]
    train: AnySplit
    test: AnySplit
    shifted: Mapping[str, AnySplit]


def encoded_set(classes: tuple[str, ...], settings: Located, parts: Mapping[str, tuple[str, Labels, Read]]) -> Decoded:
    """The set of the splits "train", "test" and "shifted.NAME": for each its name in the log, labels and images.

    All take the channels of the first image, and those of a split its size, where the settings leave them open.
    """
    form, splits = Form(settings.image_size, settings.channels, settings.fit), {}
    for key, (name, labels, read) in parts.items():
        called, source = next(read(np.zeros(1, dtype=np.intp)))
        channels, height, width = decode(source, form, called).shape
        form = replace(form, channels=1 if channels == 1 else 3)
        splits[key] = Encoded(name, labels, (channels, height, width), form, read)
    train, test = splits.pop("train"), splits.pop("test")
    return Decoded(classes, train, test, {key.removeprefix("shifted."): split for key, split in splits.items()})


def decode(source: Source, form: Form, name: str) -> Images:
    """One image as uint8 (C, H, W), converted to L or RGB, then resized bilinearly if `form` has a size.

    `name` says which image it is in the LayerLotteryError raised when it can't be decoded or is not square.
    """
    image = _open(source, form.channels, name)
    if form.image_size is not None:
        image = _FITS[form.fit](image, form.image_size)
    elif image.width != image.height:
        found = f"{image.width}x{image.height}"
        raise LayerLotteryError(f"{name}: {found} pixels, not square; set image_size to resize all images")
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def resize(images: Images, size: int) -> Images:
    """Colour images, uint8 (N, H, W, 3), as uint8 (N, 3, size, size): each as `decode` resizes one from a file."""
    if images.shape[1:3] != (size, size):
        images = np.stack([np.asarray(_scaled(Image.fromarray(image), size)) for image in images])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _scaled(image: Image.Image, size: int) -> Image.Image:
    return image.resize((size, size), Image.Resampling.BILINEAR)


def _cropped(image: Image.Image, size: int) -> Image.Image:
    """The shorter side scaled to `size`, then the square in the middle, rounded as torchvision does."""
    # Not by Pillow's draft mode, which has a JPEG decoded smaller: on images of 300 to 500 pixels it saves nothing at
    # 224, and half of the time at 64, where it moves grey levels by 1.5 on average with twice the size, 3.6 without
    shorter = min(image.size)
    width, height = (size if side == shorter else int(size * side / shorter) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    scaled = image.resize((width, height), Image.Resampling.BILINEAR)
    return scaled.crop((left, top, left + size, top + size))


_FITS: dict[Fit, Callable[[Image.Image, int], Image.Image]] = {"stretch": _scaled, "crop": _cropped}


def _open(source: Source, channels: int | None, name: str) -> Image.Image:
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
        raise LayerLotteryError(f"{name}: its pixels are of mode {mode}, allowed: 8 bits a channel")
    return image
