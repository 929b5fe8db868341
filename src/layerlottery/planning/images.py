"""How many images of which form a benchmark's sets hold, before and after they are prepared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from layerlottery import paths
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.data import Dataset, TorchvisionImages
from layerlottery.config.limits import EXTENTS
from layerlottery.data.facts import check_facts
from layerlottery.data.prepare import LOADERS
from layerlottery.data.published import SHIFTED_IMAGES
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_facts


@dataclass(frozen=True)
class ImageCounts:
    """Images of each split, made ones of all conditions, and their form; CPU seconds of a corrupted one."""

    channels: int = 0
    size: int = 0
    classes: int = 0
    train: int = 0
    test: int = 0
    shifted: int = 0
    held_out: int = 0
    corrupted: int = 0
    outliers: int = 0
    corrupt_seconds: float = 0.0

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.size, self.size


def image_counts(benchmark: Benchmark, name: str, *, prepared: bool = True) -> ImageCounts:
    """The set as it was `prepared` in the results folder, else as its source and settings promise.

    Raises LayerLotteryError when a set on disk can't be opened.
    """
    found = _prepared(benchmark, name) if prepared else None
    found = found or _promised(benchmark.datasets[name])
    chosen, outliers = benchmark.corruptions, benchmark.outliers
    corrupted = len(chosen.names) * len(chosen.severities) * min(chosen.images or found.test, found.test)
    return replace(found, corrupted=corrupted, outliers=len([*outliers.near, *outliers.far]) * outliers.images)


def _prepared(benchmark: Benchmark, name: str) -> ImageCounts | None:
    path = Path(paths.prepared(benchmark.folders.dataset.format(dataset=name)))
    try:
        facts = read_facts(path)
        check_facts(path, facts)
        return ImageCounts(facts["channels"], facts["image_size"], len(facts["classes"]), **facts["counts"])
    except LayerLotteryError:  # not there yet, or of another version: the stage will make it
        return None


def _promised(settings: Dataset) -> ImageCounts:
    if isinstance(settings, TorchvisionImages):
        known = EXTENTS[settings.set]
        whole = ImageCounts(known.channels, known.side, known.classes, known.train, known.test)
    else:
        found = LOADERS[settings.source](settings)
        counts = len(found.train), len(found.test), sum(len(part) for part in found.shifted.values())
        whole = ImageCounts(*found.train.shape[:2], len(found.classes), *counts)
    held_out = settings.held_out or 0
    shifted = whole.shifted + sum(SHIFTED_IMAGES.get(name, 0) for name in settings.official.sets)
    train, test = (settings.train_size or whole.train) - held_out, settings.test_size or whole.test
    return replace(whole, train=train, test=test, shifted=shifted, held_out=held_out)
