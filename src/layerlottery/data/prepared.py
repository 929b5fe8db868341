"""A prepared image set: decoded once to uint8 arrays, or kept encoded, described by facts.json in the same folder.

This module imports no torch: every later stage opens its data here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from layerlottery.data.facts import check_arrays, check_facts
from layerlottery.errors import LayerLotteryError
from layerlottery.store import artifacts
from layerlottery.store.arrays import read_array, still_whole

if TYPE_CHECKING:
    from layerlottery.data.encoded import EncodedImages

FACTS = "facts.json"
GROUPS = ("train", "test", "shifted", "held_out")
ARRAYS = tuple(f"{group}_{part}.npy" for group in GROUPS for part in ("images", "labels"))

Images = npt.NDArray[np.uint8]
# what a slice, or an array of rows, makes Images of
Stored: TypeAlias = "Images | EncodedImages"
Labels = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]
# channels, height, width
Shape = tuple[int, int, int]

# bytes of images that are handled at once, whatever their number
_PIECE = 1 << 24


def bounds_of_pieces(rows: Rows, shape: Shape) -> Iterator[tuple[int, int]]:
    """The bounds of pieces of `rows`, each of which holds 16 MB of images at most (one image at least)."""
    step = max(1, _PIECE // int(np.prod(shape)))
    for start in range(0, len(rows), step):
        yield start, min(start + step, len(rows))


@dataclass(frozen=True)
class Split:
    """images: uint8 (N, C, H, W), values 0..255; labels: int64 (N,), indices into the set's classes.

    Encoded images are decoded when they are indexed: by an array of rows or a slice, as an array is.
    """

    images: Stored
    labels: Labels
    # raises LayerLotteryError where memory-mapped images are no longer what they were
    check: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> Shape:
        """(C, H, W) of every image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def is_encoded(self) -> bool:
        """Whether its images are decoded when they are asked for."""
        return not isinstance(self.images, np.ndarray)

    def pieces(self, rows: Rows) -> Iterator[Images]:
        """The images at `rows`, in their order, as uint8 (n, C, H, W), a piece at a time."""
        for start, end in bounds_of_pieces(rows, self.shape):
            yield self.images[rows[start:end]]

    def take(self, indices: Rows) -> Split:
        """The images at `indices`, in their order, as a copy."""
        return Split(self.images[indices], self.labels[indices])

    def narrowed(self, start: int, stop: int) -> Split:
        """The images from `start` on, up to `stop`: a view."""
        whole = self.images
        images = whole[start:stop] if isinstance(whole, np.ndarray) else whole.narrowed(start, stop)
        return Split(images, self.labels[start:stop])


@dataclass(frozen=True)
class PreparedSet:
    """The folder of one prepared set and its facts; arrays are read, and checked, when asked for."""

    folder: Path
    facts: Mapping[str, Any]

    @classmethod
    def open(cls, facts_path: Path) -> PreparedSet:
        """Read `facts.json`. Raises LayerLotteryError when it is missing, changed or can't describe a set."""
        facts = artifacts.read_facts(facts_path)
        check_facts(facts_path, facts)
        return cls(facts_path.parent, facts)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the labels."""
        return tuple(self.facts["classes"])

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (colour)."""
        return int(self.facts["channels"])

    @property
    def image_size(self) -> int:
        """Pixels a side; images are square."""
        return int(self.facts["image_size"])

    @property
    def mean(self) -> list[float]:
        """Mean of the training images, one number a channel, for values in [0, 1]."""
        return list(self.facts["mean"])

    @property
    def std(self) -> list[float]:
        """Standard deviation of the training images, one number a channel, for values in [0, 1]; never 0."""
        return list(self.facts["std"])

    @property
    def content(self) -> str:
        """Hash of the settings and of every array: the input hash of the stages that read this set."""
        return str(self.facts["config_hash"])

    def split(self, name: Literal["train", "test", "shifted", "held_out"]) -> Split:
        """The split, memory-mapped or encoded.

        Raises LayerLotteryError when a file is missing, was changed or isn't as described.
        "shifted" are all shifted sets in a row; "held_out" are training images that no training sees, for what is
        fitted afterwards, none if none were asked for.
        """
        images, labels = self._images(name), self._array(f"{name}_labels.npy")
        check_arrays(self.folder, name, images, labels, self.facts)
        if isinstance(images, np.ndarray):
            return Split(images, labels, still_whole(self.folder / f"{name}_images.npy", images))
        return Split(images, labels)

    def shifted(self) -> dict[str, Split]:
        """Shifted test sets by name, views into one memory-mapped array; empty when there are none."""
        whole = self.split("shifted")
        bounds: dict[str, list[int]] = self.facts["shifted"]
        return {name: whole.narrowed(*both) for name, both in bounds.items()}

    def _array(self, file: str) -> npt.NDArray[Any]:
        return read_array(self.folder / file, self._content(file))

    def _images(self, name: str) -> Stored:
        file = f"{name}_images.npy"
        if "decoder" not in self.facts:
            return self._array(file)
        # loads Pillow, which decoded sets do without
        from layerlottery.data.encoded import check_decoder, open_encoded

        images = open_encoded(self.folder / file, self._content(file), self.facts)
        if name == "train":
            check_decoder(self.folder / FACTS, images, self.facts["decoder"])
        return images

    def _content(self, file: str) -> str:
        if file not in self.facts["arrays"]:
            raise LayerLotteryError(f"{self.folder / FACTS}: names no {file}; recreate it with the prepare stage")
        return str(self.facts["arrays"][file])


def select_images(labels: Labels, images: int | None, *, seed: int) -> Rows:
    """Sorted indices of `images` images, balanced over classes; all of them if `images` is None or exceeds them."""
    if images is None or images >= len(labels):
        return np.arange(len(labels))
    return balanced_subset(labels, images, seed, key="images")


def balanced_subset(labels: npt.NDArray[np.integer[Any]], size: int, seed: int, *, key: str = "size") -> Rows:
    """Sorted indices of `size` images, as many of each class as the classes allow (counts differ by 1 at most).

    A class with too few images gives all it has and the others fill up. A smaller subset of the same seed
    lies inside every larger one. `key` names the setting in the error raised when there are too few images.
    """
    if not 1 <= size <= len(labels):
        raise LayerLotteryError(f"{key}: {size} images asked for, allowed: 1 to {len(labels)}")
    order = np.random.default_rng(seed).permutation(len(labels))
    _, shuffled, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    # rank of each image within its class; taking ranks in turn is what balances the classes
    by_class = np.argsort(shuffled, kind="stable")
    rank = np.empty(len(labels), dtype=np.intp)
    rank[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    chosen = np.argsort(rank, kind="stable")[:size]
    return np.sort(order[chosen])
