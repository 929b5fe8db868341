"""The prepare stage: decode a set once, keep what the settings ask for, write arrays and facts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from layerlottery.data.decode import Decoded
from layerlottery.data.embedded import load_digits
from layerlottery.data.folder import load_folder
from layerlottery.data.official import load_shifted
from layerlottery.data.parquet import load_parquet
from layerlottery.data.prepared import ARRAYS, FACTS, GROUPS, Images, Split, balanced_subset
from layerlottery.data.torchvision_sets import load_torchvision
from layerlottery.errors import LayerLotteryError
from layerlottery.results import artifacts
from layerlottery.results.provenance import config_hash
from layerlottery.settings import Dataset, OfficialSettings

log = logging.getLogger(__name__)

# the networks halve the image twice
SMALLEST = 8

LOADERS: dict[str, Callable[[Any], Decoded]] = {
    "digits": load_digits,
    "parquet": load_parquet,
    "folder": load_folder,
    "torchvision": load_torchvision,
}

# one grey level: a channel with less contrast holds nothing, and dividing by 0 would end in NaN
_STD_FLOOR = 1 / 255


def prepare(settings: Dataset, folder: Path) -> None:
    """Write the set that `settings` describes to `folder`, facts.json last.

    Raises LayerLotteryError when files are missing or broken, when the splits do not fit together, or
    when train_size, test_size or held_out exceed what there is.
    """
    decoded = _with_official(LOADERS[settings.source](settings), settings.official)
    for name, split in {"train": decoded.train, "test": decoded.test, **decoded.shifted}.items():
        _check_agreement(name, split, decoded)
    train = _keep(decoded.train, settings.train_size, settings.sample_seed, "train_size")
    test = _keep(decoded.test, settings.test_size, settings.sample_seed, "test_size")
    train, held_out = _hold_out(train, settings)
    kept = replace(decoded, train=train, test=test)
    _check_every_class_is_trained(kept)
    _write(kept, held_out, settings, folder)
    log.info("prepared %d training and %d test images in %s", len(kept.train), len(kept.test), folder)


def _with_official(decoded: Decoded, official: OfficialSettings) -> Decoded:
    channels, image_size = decoded.train.images.shape[1], decoded.train.images.shape[-1]
    added = load_shifted(
        official, channels=channels, classes=len(decoded.classes), image_size=image_size, present=[*decoded.shifted]
    )
    return replace(decoded, shifted=decoded.shifted | added)


def _check_agreement(name: str, split: Split, decoded: Decoded) -> None:
    found, wanted = split.images.shape[1:], decoded.train.images.shape[1:]
    if min(found[1:]) < SMALLEST:
        size = f"{found[2]}x{found[1]}"
        raise LayerLotteryError(f"{name}: images of {size} pixels; allowed are {SMALLEST} or more a side (image_size)")
    if found != wanted:
        raise LayerLotteryError(
            f"{name}: images of (channels, height, width) {found}, the training images are {wanted}; "
            "set image_size and channels to bring them together"
        )
    if (highest := int(split.labels.max())) >= len(decoded.classes):
        raise LayerLotteryError(f"{name}: label {highest} found, allowed is 0 to {len(decoded.classes) - 1}")


def _check_every_class_is_trained(kept: Decoded) -> None:
    counts = np.bincount(kept.train.labels, minlength=len(kept.classes))
    if not counts.all():
        name = kept.classes[int(np.argmin(counts))]
        raise LayerLotteryError(
            f"train: no image of class {name} among the {len(kept.train)} kept and not held out, "
            f"allowed is at least one of each of the {len(kept.classes)} classes"
        )


def _keep(split: Split, size: int | None, seed: int, key: str) -> Split:
    return split if size is None else split.take(balanced_subset(split.labels, size, seed, key=key))


def _hold_out(train: Split, settings: Dataset) -> tuple[Split, Split]:
    """The images that are trained with, and those that are taken from them."""
    if settings.held_out is None:
        return train, Split(train.images[:0], train.labels[:0])
    taken = balanced_subset(train.labels, settings.held_out, settings.sample_seed, key="held_out")
    return train.take(np.setdiff1d(np.arange(len(train)), taken)), train.take(taken)


def _write(kept: Decoded, held_out: Split, settings: Dataset, folder: Path) -> None:
    shifted, bounds = _concatenate(kept)
    groups = dict(zip(GROUPS, (kept.train, kept.test, shifted, held_out), strict=True))
    contents: dict[str, str] = {}
    for name, split in groups.items():
        contents[f"{name}_images.npy"] = artifacts.write_array(folder / f"{name}_images.npy", split.images)
        contents[f"{name}_labels.npy"] = artifacts.write_array(folder / f"{name}_labels.npy", split.labels)
    mean, std = channel_statistics(kept.train.images)
    facts = {
        "source": settings.source,
        "classes": list(kept.classes),
        "channels": kept.train.images.shape[1],
        "image_size": kept.train.images.shape[-1],
        "mean": mean,
        "std": std,
        "counts": {name: len(split) for name, split in groups.items()},
        "shifted": bounds,
        "arrays": contents,
        "settings": settings.model_dump(mode="json"),
    }
    made_by = config_hash("prepare", settings, [contents[file] for file in ARRAYS])
    artifacts.write_facts(folder / FACTS, facts, config_hash=made_by)


def _concatenate(kept: Decoded) -> tuple[Split, dict[str, list[int]]]:
    # the empty start gives a set without shifted sets its zero-length arrays
    images, labels = [kept.train.images[:0]], [kept.train.labels[:0]]
    bounds: dict[str, list[int]] = {}
    start = 0
    for name, split in kept.shifted.items():
        images.append(split.images)
        labels.append(split.labels)
        bounds[name] = [start, start := start + len(split)]
    return Split(np.concatenate(images), np.concatenate(labels)), bounds


def channel_statistics(images: Images, *, chunk: int = 4096) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of uint8 (N, C, H, W), for values in [0, 1].

    Computed in float64 from exact counts of the 256 grey levels, `chunk` images at a time, so that
    neither the order of the images nor the size of the set moves the result.
    """
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for start in range(0, len(images), chunk):
        for channel, count in enumerate(counts):
            count += np.bincount(images[start : start + chunk, channel].ravel(), minlength=256)
    shares, levels = counts / counts.sum(axis=1, keepdims=True), np.arange(256) / 255
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(axis=1)
    return mean.tolist(), np.maximum(np.sqrt(variance), _STD_FLOOR).tolist()
