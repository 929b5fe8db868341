"""From image files to uint8 arrays: one place for the conversion that Parquet sets and image folders share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from layerlottery.config.data import Located
from layerlottery.data.pixels import GREY, Form, Source, decode, opened, read_file
from layerlottery.data.prepared import Images, Labels, Rows, Shape, Split, bounds_of_pieces
from layerlottery.data.remarks import Remarks
from layerlottery.errors import LayerLotteryError

log = logging.getLogger(__name__)

_PROGRESS_EVERY = 10_000

# the named images at some rows, sorted, of a split
Read = Callable[[Rows], Iterator[tuple[str, Source]]]


@dataclass(frozen=True)
class Encoded:
    """A split whose images are decoded when they are asked for: no more than a piece of it is ever in memory.

    `name` says in the log where they come from. All take the shape of the split's first image. What decoding loses is
    noted in `remarks`.
    """

    name: str
    labels: Labels
    shape: Shape
    form: Form
    read: Read
    remarks: Remarks

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Images:
        """All images at once, uint8 (N, C, H, W): for sets that fit into the memory."""
        return np.concatenate([*self.pieces(np.arange(len(self)))])

    def pieces(self, rows: Rows, *, keep: Callable[[bytes], None] | None = None) -> Iterator[Images]:
        """The images at `rows` (sorted), in their order, as uint8 (n, C, H, W), a piece at a time.

        `keep` is called with what each image's file holds, in the same order. Raises LayerLotteryError naming the first
        image that can't be read or whose size differs.
        """
        log.info("decoding %s", self.name)
        sources = self.read(rows)
        for start, end in bounds_of_pieces(rows, self.shape):
            piece = np.empty((end - start, *self.shape), dtype=np.uint8)
            for target in piece:
                called, source = next(sources)
                if keep is not None:
                    keep(source := read_file(source))
                image = decode(source, self.form, called, self.remarks)
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
    remarks: Remarks = field(default_factory=Remarks)


def encoded_set(
    classes: tuple[str, ...], settings: Located, parts: Mapping[str, tuple[str, Labels, Read]], remarks: Remarks
) -> Decoded:
    """The set of the splits "train", "test" and "shifted.NAME": for each its name in the log, labels and images.

    Where the settings leave it open, all are in colour if one training image is, and those of a split take the size
    of its first.
    """
    _, labels, read = parts["train"]
    channels = settings.channels or _channels(read(np.arange(len(labels))))
    form, splits = Form(settings.image_size, channels, settings.fit, chosen=settings.channels is not None), {}
    for key, (name, labels, read) in parts.items():
        called, source = next(read(np.zeros(1, dtype=np.intp)))
        _, height, width = decode(source, form, called).shape
        splits[key] = Encoded(name, labels, (channels, height, width), form, read, remarks)
    train, test = splits.pop("train"), splits.pop("test")
    shifted = {key.removeprefix("shifted."): split for key, split in splits.items()}
    return Decoded(classes, train, test, shifted, remarks)


def _channels(sources: Iterator[tuple[str, Source]]) -> Literal[1, 3]:
    """3 if an image is in colour, by its header; only a grey set has all of them looked at."""
    for name, source in sources:
        # an image that can't be read is named when it is needed
        with suppress(LayerLotteryError), opened(source, name) as held:
            if held.mode not in GREY:
                return 3
    return 1
