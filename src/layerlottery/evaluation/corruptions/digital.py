"""Brightness, contrast, saturation, pixels and JPEG."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from layerlottery.evaluation.corruptions.pixels import Generators, truncate, unit


def brightness(images: Tensor, generators: Generators, added: float) -> Tensor:
    """A constant added to V of HSV, hue and saturation kept; on grey images it is simply added."""
    greatest = images.amax(dim=1, keepdim=True)
    places = (greatest.int() << 8) | images.int()
    return _brighter(added).index_select(0, places.flatten()).reshape(images.shape)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _brighter(added: float) -> Tensor:
    """For each V (row, 0..255) and value: the new value, flat."""
    values = np.arange(256) / 255
    before = values[:, None]
    # with hue and saturation fixed a colour is proportional to V; black has no saturation and turns grey
    share = np.divide(values, before, out=np.ones((256, 256)), where=before > 0)
    return truncate(torch.from_numpy(share * np.minimum(before + added, 1))).flatten()


def saturate(images: Tensor, generators: Generators, factor: float, added: float) -> Tensor:
    """S of HSV times a factor plus a constant, hue and V kept.

    Grey pixels of colour images have hue 0, so that they turn reddish where something is added. Grey images have
    no saturation, and stay as they are.
    """
    if images.shape[1] == 1:
        return images.clone()
    values = unit(images)
    value, least = values.amax(dim=1, keepdim=True), values.amin(dim=1, keepdim=True)
    spread = value - least
    grey = spread == 0
    # a colour is V (1 - S t), where t goes from 0 at its greatest to 1 at its least channel
    share = (value - values) / spread.masked_fill(grey, 1)
    share = torch.where(grey, torch.tensor([0.0, 1.0, 1.0], dtype=share.dtype).reshape(1, 3, 1, 1), share)
    saturation = spread / value.masked_fill(value == 0, 1)
    changed = (saturation * factor + added).clamp_(0, 1)
    return truncate(value - share * (changed * value))


def contrast(images: Tensor, generators: Generators, factor: float) -> Tensor:
    """Distances to the mean of each image and channel shrink by a factor."""
    total = images.sum(dim=(2, 3), keepdim=True, dtype=torch.int64)  # whole numbers: exact in any order
    means = total.double() / (255 * images.shape[2] * images.shape[3])
    return truncate(unit(images).sub_(means).mul_(factor).add_(means))


def pixelate(images: Tensor, generators: Generators, share: float) -> Tensor:
    """Box-filtered to a share of the size, in whole pixels, and back, as pillow does it: across, then down.

    The share is relative, so it is the same for every size; at 8x8 its five values leave 7, 7, 6, 6 and 5 pixels.
    """
    size = images.shape[-1]
    first, last = _boxes(size, int(size * share))
    halves = images.to(torch.int16)
    for axis in (3, 2):
        # a box holds one pixel or two; halves are rounded up
        halves = (halves.index_select(axis, first) + halves.index_select(axis, last) + 1) >> 1
    return halves.to(torch.uint8)


def _boxes(size: int, small: int) -> tuple[Tensor, Tensor]:
    """First and last pixel of the box that each of `size` pixels shows, when `small` boxes share them."""
    pixels, boxes = np.arange(size), np.arange(small)[:, None]
    # a pixel is in a box if its middle is, or is the box's upper end; in whole numbers
    middles = (2 * pixels + 1) * small
    inside = (middles > 2 * boxes * size) & (middles <= 2 * (boxes + 1) * size)
    shown = middles // (2 * size)  # enlarging takes the nearest box
    last = size - 1 - inside[:, ::-1].argmax(axis=1)
    return torch.from_numpy(inside.argmax(axis=1)[shown]), torch.from_numpy(last[shown])


def jpeg_compression(images: Tensor, generators: Generators, quality: int) -> Tensor:
    """JPEG compression and decompression by pillow, colours at half the resolution."""
    grey = images.shape[1] == 1
    pixels = (images.squeeze(1) if grey else images.permute(0, 2, 3, 1).contiguous()).numpy()
    changed, mode = np.empty_like(pixels), "L" if grey else "RGB"
    for source, target in zip(pixels, changed, strict=True):
        held = io.BytesIO()
        Image.fromarray(source).save(held, "JPEG", quality=quality)
        # the decoder itself: opening it as a file reads the headers in Python, which takes longer than the image
        target[:] = np.asarray(Image.frombytes(mode, source.shape[:2], held.getvalue(), "jpeg", mode, ""))
    result = torch.from_numpy(changed)
    return result.unsqueeze(1) if grey else result.permute(0, 3, 1, 2)
