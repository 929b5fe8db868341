"""What an image set can't give, said before any work: sizes are known of prepared and of published sets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, get_args

from layerlottery import paths
from layerlottery.config.countries import carbon_intensity
from layerlottery.config.data import Digits, OfficialCorruptions, TorchvisionImages
from layerlottery.config.evaluation import FEWEST_COMPARED
from layerlottery.errors import LayerLotteryError


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
    """Raise LayerLotteryError for the first setting of a Benchmark that an image set of its studies can't give.

    Of a set of the user's own, only what the configuration says is known until it is prepared. A country without an
    energy mix is refused, too, and a results folder that is a file.
    """
    _check_folder(Path(benchmark.results))
    if benchmark.energy.carbon_intensity is None:
        carbon_intensity(benchmark.energy.country)
    for name in dict.fromkeys(name for study in benchmark.studies for name in study.datasets):
        settings = benchmark.datasets[name]
        whole = published(settings)
        known = whole or _prepared(Path(paths.prepared(benchmark.folders.dataset.format(dataset=name))), settings)
        side = known.side if known else getattr(settings, "image_size", None)
        problems = chain(
            _size_problems(f"datasets.{name}", settings, whole) if whole else (),
            _side_problems(benchmark, name, side) if side else (),
            _outlier_problems(benchmark, name, settings),
            _test_problems(benchmark, name, settings, known),
            _scoring_problems(benchmark, name, settings, known) if known else (),
        )
        if problem := next(problems, None):
            raise LayerLotteryError(f"configuration: {problem}")


def _check_folder(results: Path) -> None:
    """Raise unless there is such a folder, or can be."""
    try:
        for path in (results, *results.parents):
            if path.exists():
                break
    except OSError as error:
        raise LayerLotteryError(f"configuration: results: {str(results)[:60]}: {error.strerror}") from None
    if not path.is_dir():
        raise LayerLotteryError(f"configuration: results: {path} is a file; allowed: a folder, or a name for a new one")


def _prepared(path: Path, settings: Any) -> Extent | None:
    """That of a set that was prepared with these settings, as it is left by them."""
    if not path.exists():
        return None
    from layerlottery.store.artifacts import read_facts  # of what numpy and pyarrow take to import nothing else is used

    try:
        facts = read_facts(path)
        if facts["settings"] != settings.model_dump(mode="json"):
            return None
        counts, classes = facts["counts"], len(facts["classes"])
        whole = counts["train"] + counts["held_out"]
        return Extent(whole, counts["test"], facts["channels"], facts["image_size"], classes)
    except (LayerLotteryError, KeyError, TypeError):
        return None  # not there yet, or of another version: the stage will make it


def _size_problems(key: str, settings: Any, whole: Extent) -> Iterator[str]:
    if min(whole.train, whole.test) < whole.classes:
        yield (
            f"{key}.test_fraction: found {settings.test_fraction}, which splits the set into {whole.train} training "
            f"and {whole.test} test images; allowed: one of each of the {whole.classes} classes in both"
        )
    train, held_out = settings.train_size or whole.train, settings.held_out or 0
    if train > whole.train:
        yield f"{key}.train_size: found {train}; the set has {whole.train} training images"
    if (settings.test_size or 0) > whole.test:
        yield f"{key}.test_size: found {settings.test_size}; the set has {whole.test} test images"
    if train < whole.classes:
        yield f"{key}.train_size: found {train}; allowed: at least one image of each of the {whole.classes} classes"
    if train - held_out < whole.classes:
        yield (
            f"{key}.held_out: found {held_out} of {train} training images; allowed: at most {train - whole.classes}, "
            f"which leaves one of each of the {whole.classes} classes"
        )
    for name in settings.official.sets:
        family = name.partition(".")[0].removesuffix("-C")
        wanted = EXTENTS[family.replace("-", "")]
        if (whole.classes, whole.channels) != (wanted.classes, wanted.channels) or (
            name in get_args(OfficialCorruptions) and whole.side != wanted.side
        ):
            yield f"{key}.official.sets: found {name}, which belongs to {family}; allowed for this set: []"


def _side_problems(benchmark: Any, name: str, side: int) -> Iterator[str]:
    networks = [network for study in benchmark.studies if name in study.datasets for network in study.networks]
    for key, of in (("training", benchmark.recipe), ("fine_tuning", benchmark.tuning)):
        if wide := {of(network).crop for network in networks if of(network).crop > side}:
            yield f"{key}.crop: found {max(wide)}; the images of {name} have {side} pixels a side"
    for study in benchmark.studies:
        for network in study.networks if name in study.datasets else ():
            patch = getattr(benchmark.network(network), "patch", 1)
            if side % patch:
                yield f"networks.{network}.patch: found {patch}; it must divide the {side} pixels a side of {name}"


def _outlier_problems(benchmark: Any, name: str, settings: Any) -> Iterator[str]:
    own = getattr(settings, "set", None)
    for key in ("near", "far"):
        if own in getattr(benchmark.outliers, key):
            yield f"outliers.{key}: found {own}, which is the set {name} itself; allowed: sets of other images"


def _test_problems(benchmark: Any, name: str, settings: Any, known: Extent | None) -> Iterator[str]:
    test = settings.test_size or (known and known.test) or FEWEST_COMPARED
    if test < FEWEST_COMPARED and any(study.sizes and name in study.datasets for study in benchmark.studies):
        yield f"datasets.{name}.test_size: found {test}; tickets are compared on {FEWEST_COMPARED} test images or more"


def _scoring_problems(benchmark: Any, name: str, settings: Any, whole: Extent) -> Iterator[str]:
    train = min(settings.train_size or whole.train, whole.train) - (settings.held_out or 0)
    asked = {criterion for study in benchmark.studies if name in study.datasets for criterion in study.criteria}
    budgets = {benchmark.criterion(criterion).budget for criterion in asked} - {None}
    for criterion in sorted(asked | budgets):
        chosen = benchmark.criterion(criterion)
        if not chosen.formula.data_free and chosen.images_per_class * whole.classes > train:
            yield (
                f"criteria.{criterion}.images_per_class: found {chosen.images_per_class}; "
                f"the {train} training images of {name} give at most {train // whole.classes}"
            )
