"""From image files to uint8 arrays: one place for the conversion that Parquet sets and image folders share."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps

from layerlottery.config.data import Fit, Located
from layerlottery.data.prepared import Images, Labels, Rows, Shape, Split, bounds_of_pieces
from layerlottery.data.remarks import Remarks
from layerlottery.errors import LayerLotteryError
from layerlottery.store.regular import require_regular

log = logging.getLogger(__name__)

_MODES = {1: "L", 3: "RGB"}
_GREY = frozenset({"1", "L", "LA", "La"})
# whatever a file is called: Pillow knows more formats, and starts another program for PostScript
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF")
# of an encoded image: more than what Pillow's limit of 89 million pixels takes at 4 bytes each
_MOST_BYTES = 1 << 29
_PROGRESS_EVERY = 10_000


# an image file, or what it holds
Source = bytes | str | Path
# the named images at some rows, sorted, of a split
Read = Callable[[Rows], Iterator[tuple[str, Source]]]


@dataclass(frozen=True)
class Form:
    """The form all images of a set take; without a size each keeps its own. `chosen`: the settings say the channels."""

    image_size: int | None
    channels: Literal[1, 3]
    fit: Fit = "stretch"
    chosen: bool = True


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
        with suppress(LayerLotteryError), _opened(source, name) as held:
            if held.mode not in _GREY:
                return 3
    return 1


def decode(source: Source, form: Form, name: str, remarks: Remarks | None = None) -> Images:
    """One image as uint8 (C, H, W), turned upright, in L or RGB, then resized bilinearly if `form` has a size.

    `name` says which image it is in the LayerLotteryError raised when it can't be decoded or is not square.
    """
    image = _read(source, form, name, Remarks() if remarks is None else remarks)
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


@contextmanager
def _opened(source: Source, name: str) -> Iterator[ImageFile.ImageFile]:
    """An image whose header is read; what goes wrong with it in the block is raised as LayerLotteryError."""
    if not isinstance(source, bytes):
        require_regular(Path(source), _MOST_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # a file of a few bytes may claim an image that fills the memory
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=_FORMATS) as held:
                yield held
    except LayerLotteryError:
        raise
    # a broken file makes Pillow raise nearly anything: OSError, SyntaxError, struct.error, …
    except Exception as error:
        raise LayerLotteryError(f"{name}: not a readable image ({type(error).__name__})") from error


def _read(source: Source, form: Form, name: str, remarks: Remarks) -> Image.Image:
    with _opened(source, name) as held:
        if held.mode.startswith(("I", "F")):
            # converting these clips at 255, which would turn most of such an image white without a word
            raise LayerLotteryError(f"{name}: its pixels are of mode {held.mode}, allowed: 8 bits a channel")
        for what in _losses(held, form):
            remarks.add(what, name)
        return _upright(held).convert(_MODES[form.channels])


def _losses(image: ImageFile.ImageFile, form: Form) -> Iterator[str]:
    """What an image loses on its way to L or RGB, apart from what the settings ask for."""
    if not form.chosen and form.channels == 1 and image.mode not in _GREY:
        yield "made grey, as all training images are"
    if _has_frames(image):
        yield "read without the frames after the first"
    if any(";16" in str(tile.args) for tile in image.tile):
        yield "read with 8 of 16 bits a channel"
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        yield "read without transparency"


def _has_frames(image: Image.Image) -> bool:
    try:
        # further pictures of an MPO are a camera's previews
        return getattr(image, "is_animated", False) and image.format != "MPO"
    except Exception:  # a second frame is there, and broken, as Pillow finds out with GIFs
        image.seek(0)
        return True


def _upright(image: Image.Image) -> Image.Image:
    """As a viewer shows it; metadata that can't be read turn nothing, as there."""
    try:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) != 1
        return ImageOps.exif_transpose(image) if turned else image
    except Exception:  # what is broken here are tags, not pixels
        image.load()
        return image
