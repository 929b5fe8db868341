"""Images that are kept as their files' bytes and decoded whenever they are asked for, by the job's threads.

Decoded, ImageNet takes 193 GB on disk; its JPEG files take 148. The pixels are those that the stage prepare has seen:
the same function decodes them.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL

from layerlottery.data.pixels import Form, Pixels, decode_again
from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.threads import job_threads
from layerlottery.store.records import Records, read_records

# prepare has looked at each image; and what would silence Pillow for a moment is not made for threads
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True)
class EncodedImages:
    """Used as an array, uint8 (N, C, H, W), of which only what is asked for is ever in memory: `images[rows]`."""

    records: Records
    form: Form
    # (C, H, W), and the records of the first image and after the last
    one: tuple[int, int, int]
    start: int
    stop: int

    dtype = np.dtype(np.uint8)

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return (len(self), *self.one)

    @property
    def nbytes(self) -> int:
        """Bytes of all images once they are decoded."""
        return int(np.prod(self.shape))

    def __getitem__(self, rows: slice | npt.NDArray[np.integer[Any]]) -> Pixels:
        """The images at some rows, decoded, as uint8 (n, C, H, W).

        Raises LayerLotteryError naming the file that is gone, was cut or holds other bytes than were written.
        """
        places = self._places(rows)
        images = np.empty((len(places), *self.one), np.uint8)

        def fill(number: int) -> None:
            name = f"{self.records.index}: image {places[number]} (from 0)"
            pixels = decode_again(self.records[places[number]], self.form, name)
            if pixels.shape != self.one:
                raise LayerLotteryError(f"{name}: found pixels of shape {pixels.shape}, its facts say {self.one}")
            images[number] = pixels

        threads = min(job_threads(), len(places))
        # in full: what a thread has raised is raised here
        for _ in map(fill, range(len(places))) if threads < 2 else _decoders(threads).map(fill, range(len(places))):
            pass
        return images

    def _places(self, rows: slice | npt.NDArray[np.integer[Any]]) -> list[int]:
        """The records of some rows. Raises IndexError for rows that there are not."""
        if isinstance(rows, slice):
            return list(range(self.start, self.stop)[rows])
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(self):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(self)} images")
        places: list[int] = (self.start + rows).tolist()
        return places

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """All images, decoded: numpy would make an array of one object of them."""
        return np.asarray(self[:], dtype)

    def narrowed(self, start: int, stop: int) -> EncodedImages:
        """The images from `start` on, up to `stop`, none of them decoded."""
        return replace(self, start=self.start + start, stop=self.start + stop)


@cache
def _decoders(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "decoder")


# threads do not follow a fork
os.register_at_fork(after_in_child=_decoders.cache_clear)


def open_encoded(index: Path, content: str, facts: Mapping[str, Any]) -> EncodedImages:
    """The images of an index that has this hash, of the set that `facts` describe."""
    settings, size = facts["settings"], facts["image_size"]
    records = read_records(index, content)
    form = Form(settings.get("image_size"), facts["channels"], settings.get("fit", "stretch"))
    return EncodedImages(records, form, (facts["channels"], size, size), 0, len(records))


def first_pixels(images: EncodedImages) -> dict[str, str]:
    """What tells whether another installation decodes to the same pixels: Pillow, and the hash of the first image."""
    return {"pillow": PIL.__version__, "first_image": hashlib.sha256(images[:1].tobytes()).hexdigest()}


def check_decoder(path: Path, train: EncodedImages, stated: Mapping[str, str]) -> None:
    """Raise LayerLotteryError where this Pillow makes other pixels of the first training image than prepare's did."""
    if (found := first_pixels(train))["first_image"] != stated.get("first_image"):
        raise LayerLotteryError(
            f"{path}: Pillow {found['pillow']} decodes its images to other pixels than Pillow {stated.get('pillow')} "
            "did; install that one, or recreate the set with the prepare stage"
        )
