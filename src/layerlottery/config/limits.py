"""What an image set can't give, said before any work: sizes are known of prepared and of published sets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from layerlottery import paths
from layerlottery.config.countries import carbon_intensity
from layerlottery.config.data import Digits, OfficialCorruptions, TorchvisionImages
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import read_facts


@dataclass(frozen=True)
class Extent:
    """Training and test images of a whole set, their channels, pixels a side, classes."""

    train: int
    test: int
    channels: int
    side: int
    classes: int


# as their publishers say
EXTENTS = {
    "CIFAR10": Extent(50_000, 10_000, 3, 32, 10),
    "CIFAR100": Extent(50_000, 10_000, 3, 32, 100),
    "SVHN": Extent(73_257, 26_032, 3, 32, 10),
    "FashionMNIST": Extent(60_000, 10_000, 1, 28, 10),
}
SCANS = 1797


def published(settings: Any) -> Extent | None:
    """The extent of a set that comes with a package or from its publisher; None for the user's own."""
    if isinstance(settings, TorchvisionImages):
        return EXTENTS[settings.set]
    if isinstance(settings, Digits):
        test = math.ceil(SCANS * settings.test_fraction)
        return Extent(SCANS - test, test, 1, 8, 10)
    return None


def check_limits(benchmark: Any) -> None:
    """Raise LayerLotteryError for the first setting of a Benchmark that one of its image sets can't give.

    A set of the user's own is known once it is prepared. A country without an energy mix is refused, too.
    """
    if benchmark.energy.carbon_intensity is None:
        carbon_intensity(benchmark.energy.country)
    for name, settings in benchmark.datasets.items():
        folder = benchmark.folders.dataset.format(dataset=name)
        found, key = published(settings), f"datasets.{name}"
        if found is None:
            found = _prepared(Path(paths.prepared(folder)), settings)
        elif problem := next(_size_problems(settings, found), None):
            raise LayerLotteryError(f"configuration: {key}.{problem}")
        if found is not None and (problem := next(_problems(benchmark, name, settings, found), None)):
            raise LayerLotteryError(f"configuration: {problem}")


def _prepared(path: Path, settings: Any) -> Extent | None:
    """That of a set that was prepared with these settings, as it is left by them."""
    try:
        facts = read_facts(path)
        if facts["settings"] != settings.model_dump(mode="json"):
            return None
        counts, classes = facts["counts"], len(facts["classes"])
        whole = counts["train"] + counts["held_out"]
        return Extent(whole, counts["test"], facts["channels"], facts["image_size"], classes)
    except (LayerLotteryError, KeyError, TypeError):
        return None  # not there yet, or of another version: the stage will make it


def _size_problems(settings: Any, whole: Extent) -> Iterator[str]:
    train, held_out = settings.train_size or whole.train, settings.held_out or 0
    if train > whole.train:
        yield f"train_size: found {train}; the set has {whole.train} training images"
    if (settings.test_size or 0) > whole.test:
        yield f"test_size: found {settings.test_size}; the set has {whole.test} test images"
    if train - held_out < whole.classes:
        yield (
            f"held_out: found {held_out} of {train} training images; allowed: at most {train - whole.classes}, "
            f"which leaves one of each of the {whole.classes} classes"
        )
    for name in settings.official.sets:
        family = name.partition(".")[0].removesuffix("-C")
        wanted = EXTENTS[family.replace("-", "")]
        if (whole.classes, whole.channels) != (wanted.classes, wanted.channels) or (
            name in get_args(OfficialCorruptions) and whole.side != wanted.side
        ):
            yield f"official.sets: found {name}, which belongs to {family}; allowed for this set: []"


def _problems(benchmark: Any, name: str, settings: Any, whole: Extent) -> Iterator[str]:
    if benchmark.training.crop > whole.side:
        yield f"training.crop: found {benchmark.training.crop}; the images of {name} have {whole.side} pixels a side"
    train = min(settings.train_size or whole.train, whole.train) - (settings.held_out or 0)
    for study in benchmark.studies:
        for criterion in study.criteria if name in study.datasets else ():
            chosen = benchmark.criterion(criterion)
            looks = chosen.formula.needs in ("gradient", "forward") and not chosen.formula.data_free
            if looks and chosen.images_per_class * whole.classes > train:
                yield (
                    f"criteria.{criterion}.images_per_class: found {chosen.images_per_class}; "
                    f"the {train} training images of {name} give at most {train // whole.classes}"
                )
