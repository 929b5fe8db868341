"""How many images of which form a benchmark's sets hold, before and after they are prepared."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.data import CustomImages, Dataset, Digits, ImageFolder, ParquetImages, TorchvisionImages
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_facts

DIGITS, SHIFTED_MNIST = 1797, 5000
# of torchvision's sets: training images, test images, channels, pixels a side, classes
TORCHVISION = {
    "CIFAR10": (50_000, 10_000, 3, 32, 10),
    "CIFAR100": (50_000, 10_000, 3, 32, 100),
    "SVHN": (73_257, 26_032, 3, 32, 10),
    "FashionMNIST": (60_000, 10_000, 1, 28, 10),
}
# published test sets of CIFAR that are evaluated as shifted ones
OFFICIAL = {"CIFAR-10.1": 2000, "CIFAR-10.2": 2000}
SAMPLE = 64


@dataclass(frozen=True)
class ImageSet:
    """Images of each split, and the form of every one of them; `decode_seconds` is what one takes to prepare."""

    channels: int
    size: int
    classes: int
    train: int
    test: int
    shifted: int = 0
    held_out: int = 0
    decoded: int = 0
    decode_seconds: float = 0.0

    @property
    def bytes_each(self) -> int:
        """Bytes of an image and its label."""
        return self.channels * self.size**2 + 8


def image_set(benchmark: Benchmark, name: str) -> ImageSet:
    """The set as it is prepared in the results folder, else as its source and settings promise.

    Raises LayerLotteryError when a set on disk can't be opened.
    """
    settings = benchmark.datasets[name]
    prepared = Path(paths.prepared(benchmark.folders.dataset.format(dataset=name)))
    if prepared.is_file():
        try:
            return _prepared(prepared)
        except (LayerLotteryError, KeyError):
            pass  # broken, or of another version: the stage makes it anew
    return _kept(_whole(settings), settings)


def evaluated(benchmark: Benchmark, images: ImageSet) -> int:
    """Images that the stage shift shows to each network."""
    return images.test + images.held_out + images.shifted + corrupted(benchmark, images) + outliers(benchmark, images)


def corrupted(benchmark: Benchmark, images: ImageSet) -> int:
    """Corrupted images of all conditions."""
    chosen = benchmark.corruptions
    return len(chosen.names) * len(chosen.severities) * min(chosen.images or images.test, images.test)


def outliers(benchmark: Benchmark, images: ImageSet) -> int:
    """Images of no class, at most."""
    return len([*benchmark.outliers.near, *benchmark.outliers.far]) * benchmark.outliers.images


def _prepared(path: Path) -> ImageSet:
    facts = read_facts(path)
    counts = {name: int(facts["counts"][name]) for name in ("train", "test", "shifted", "held_out")}
    return ImageSet(int(facts["channels"]), int(facts["image_size"]), len(facts["classes"]), **counts)


def _whole(settings: Dataset) -> ImageSet:
    if isinstance(settings, Digits):
        # as scikit-learn splits
        test = math.ceil(settings.test_fraction * DIGITS)
        return ImageSet(1, 8, 10, DIGITS - test, test, shifted=SHIFTED_MNIST * len(settings.shifted))
    if isinstance(settings, TorchvisionImages):
        train, test, channels, size, classes = TORCHVISION[settings.set]
        return ImageSet(channels, size, classes, train, test)
    return _on_disk(settings)


def _on_disk(settings: ParquetImages | ImageFolder | CustomImages) -> ImageSet:
    from layerlottery.data.prepare import LOADERS

    found = LOADERS[settings.source](settings)
    channels, size = found.train.shape[0], found.train.shape[-1]
    counts = len(found.train), len(found.test), sum(len(part) for part in found.shifted.values())
    rows = np.arange(min(SAMPLE, len(found.train)))
    began = time.process_time()
    for _ in found.train.pieces(rows):
        pass
    each = (time.process_time() - began) / len(rows)
    return ImageSet(channels, size, len(found.classes), *counts, decode_seconds=each)


def _kept(whole: ImageSet, settings: Dataset) -> ImageSet:
    held_out = settings.held_out or 0
    train = settings.train_size or whole.train
    test = settings.test_size or whole.test
    official = sum(OFFICIAL.get(name, 0) for name in settings.official.sets)
    shifted = whole.shifted + official
    return ImageSet(
        whole.channels,
        whole.size,
        whole.classes,
        train=train - held_out,
        test=test,
        shifted=shifted,
        held_out=held_out,
        decoded=train + test + shifted,
        decode_seconds=whole.decode_seconds,
    )
