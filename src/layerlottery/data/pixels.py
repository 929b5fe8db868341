"""From one image file to uint8 pixels: the conversion that Parquet sets, image folders and encoded sets share."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, ImageOps

from layerlottery.config.data import Fit
from layerlottery.data.remarks import Remarks
from layerlottery.errors import LayerLotteryError
from layerlottery.store.regular import require_regular

MODES = {1: "L", 3: "RGB"}
GREY = frozenset({"1", "L", "LA", "La"})
# whatever a file is called: Pillow knows more formats, and starts another program for PostScript
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "AVIF")
# of an encoded image: more than what Pillow's limit of 89 million pixels takes at 4 bytes each
_MOST_BYTES = 1 << 29

# an image file, or what it holds
Source = bytes | str | Path
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Form:
    """The form all images of a set take; without a size each keeps its own. `chosen`: the settings say the channels."""

    image_size: int | None
    channels: Literal[1, 3]
    fit: Fit = "stretch"
    chosen: bool = True


def decode(source: Source, form: Form, name: str, remarks: Remarks | None = None) -> Pixels:
    """One image as uint8 (C, H, W), turned upright, in L or RGB, then resized bilinearly if `form` has a size.

    `name` says which image it is in the LayerLotteryError raised when it can't be decoded or is not square.
    """
    with opened(source, name) as held:
        if held.mode.startswith(("I", "F")):
            # converting these clips at 255, which would turn most of such an image white without a word
            raise LayerLotteryError(f"{name}: its pixels are of mode {held.mode}, allowed: 8 bits a channel")
        for what in _losses(held, form):
            if remarks is not None:
                remarks.add(what, name)
        image = _converted(held, form)
    if form.image_size is None and image.width != image.height:
        found = f"{image.width}x{image.height}"
        raise LayerLotteryError(f"{name}: {found} pixels, not square; set image_size to resize all images")
    return _fitted(image, form)


def decode_again(content: bytes, form: Form, name: str) -> Pixels:
    """The same pixels of an image file that `decode` has taken before, without a look for what it loses.

    For any number of threads at once: Pillow decodes and resizes beside Python.
    """
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as held:
            return _fitted(_converted(held, form), form)
    except Exception as error:
        raise LayerLotteryError(f"{name}: not a readable image ({type(error).__name__})") from error


def encode(image: Pixels) -> bytes:
    """Pixels (C, H, W), of 1 or 3 channels, as a PNG file: without a loss."""
    sink = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))).save(sink, "PNG")
    return sink.getvalue()


def read_file(source: Source) -> bytes:
    """What an image file holds. Raises LayerLotteryError for what is no regular file, or is too large for an image."""
    return source if isinstance(source, bytes) else require_regular(Path(source), _MOST_BYTES).read_bytes()


def _converted(held: ImageFile.ImageFile, form: Form) -> Image.Image:
    image, mode = _upright(held), MODES[form.channels]
    if image.mode != mode:
        return image.convert(mode)
    # convert would copy it; but from here on its file is closed
    image.load()
    return image


def _fitted(image: Image.Image, form: Form) -> Pixels:
    if form.image_size is not None:
        image = _FITS[form.fit](image, form.image_size)
    array = np.asarray(image, dtype=np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def resize(images: Pixels, size: int) -> Pixels:
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
def opened(source: Source, name: str) -> Iterator[ImageFile.ImageFile]:
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


def _losses(image: ImageFile.ImageFile, form: Form) -> Iterator[str]:
    """What an image loses on its way to L or RGB, apart from what the settings ask for."""
    if not form.chosen and form.channels == 1 and image.mode not in GREY:
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
