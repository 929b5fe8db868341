"""The prepare stage: decode a set once, keep what the settings ask for, write arrays and facts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from layerlottery.config.data import Dataset, OfficialSettings
from layerlottery.config.provenance import config_hash
from layerlottery.data.decode import AnySplit, Decoded
from layerlottery.data.embedded import load_digits
from layerlottery.data.encoded import first_pixels, open_encoded
from layerlottery.data.folder import load_folder
from layerlottery.data.official import load_shifted
from layerlottery.data.own import load_own
from layerlottery.data.parquet import load_parquet
from layerlottery.data.pixels import encode
from layerlottery.data.prepared import ARRAYS, FACTS, GROUPS, Images, Labels, Rows, Split, balanced_subset
from layerlottery.data.statistics import Levels
from layerlottery.data.torchvision_sets import load_torchvision
from layerlottery.errors import LayerLotteryError
from layerlottery.store import artifacts
from layerlottery.store.arrays import array_writer, write_array
from layerlottery.store.records import records_writer, remove_shards

log = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]

# the networks halve the image twice
SMALLEST = 8

LOADERS: dict[str, Callable[[Any], Decoded]] = {
    "digits": load_digits,
    "parquet": load_parquet,
    "folder": load_folder,
    "torchvision": load_torchvision,
    "custom": load_own,
}


def prepare(settings: Dataset, folder: Path) -> None:
    """Write the set that `settings` describes to `folder`, facts.json last.

    Images are chosen by their labels, then decoded straight into the arrays on disk, or kept as their files: the memory
    this takes does not depend on their number. Raises LayerLotteryError when files are missing or broken, when the
    splits do not fit together, or when train_size, test_size or held_out exceed what there is.
    """
    decoded = _with_official(LOADERS[settings.source](settings), settings.official)
    for name, part in {"train": decoded.train, "test": decoded.test, **decoded.shifted}.items():
        _check_agreement(name, part, decoded)
    train = _keep(decoded.train, settings.train_size, settings.sample_seed, "train_size")
    test = _keep(decoded.test, settings.test_size, settings.sample_seed, "test_size")
    train, held_out = _hold_out(decoded.train.labels, train, settings)
    _check_every_class_is_trained(decoded.train.labels[train], decoded.classes)
    _write(decoded, {"train": train, "test": test, "held_out": held_out}, settings, folder)
    log.info("prepared %d training and %d test images in %s", len(train), len(test), folder)


def _with_official(decoded: Decoded, official: OfficialSettings) -> Decoded:
    channels, _, image_size = decoded.train.shape
    added = load_shifted(
        official, channels=channels, classes=decoded.classes, image_size=image_size, present=[*decoded.shifted]
    )
    return replace(decoded, shifted={**decoded.shifted, **added})


def _check_agreement(name: str, part: AnySplit, decoded: Decoded) -> None:
    found, wanted = part.shape, decoded.train.shape
    if min(found[1:]) < SMALLEST:
        size = f"{found[2]}x{found[1]}"
        raise LayerLotteryError(f"{name}: images of {size} pixels; allowed: {SMALLEST} or more a side (image_size)")
    if found != wanted:
        raise LayerLotteryError(
            f"{name}: images of (channels, height, width) {found}, the training images are {wanted}; "
            "set image_size and channels to bring them together"
        )
    if (highest := int(part.labels.max())) >= len(decoded.classes):
        raise LayerLotteryError(f"{name}: label {highest} found, allowed: 0 to {len(decoded.classes) - 1}")


def _check_every_class_is_trained(labels: Labels, classes: tuple[str, ...]) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    if not counts.all():
        name = classes[int(np.argmin(counts))]
        raise LayerLotteryError(
            f"train: no image of class {name} among the {len(labels)} kept and not held out, "
            f"allowed: at least one of each of the {len(classes)} classes"
        )


def _keep(part: AnySplit, size: int | None, seed: int, key: str) -> Rows:
    return np.arange(len(part)) if size is None else balanced_subset(part.labels, size, seed, key=key)


def _hold_out(labels: Labels, train: Rows, settings: Dataset) -> tuple[Rows, Rows]:
    """The rows that are trained with, and those that are taken from them."""
    if settings.held_out is None:
        return train, train[:0]
    taken = balanced_subset(labels[train], settings.held_out, settings.sample_seed, key="held_out")
    return np.delete(train, taken), train[taken]


def _write(decoded: Decoded, rows: dict[str, Rows], settings: Dataset, folder: Path) -> None:
    channels, _, image_size = decoded.train.shape
    labels, bounds = _labels(decoded, rows)
    levels = Levels(channels)
    counts = {name: len(labels[name]) for name in GROUPS}
    encoded = getattr(settings, "stored", "decoded") == "encoded"
    images = (_write_files if encoded else _write_images)(decoded, rows, counts, levels, folder)
    contents: dict[str, str] = {}
    for name in GROUPS:
        contents[f"{name}_images.npy"] = images[name]
        contents[f"{name}_labels.npy"] = write_array(folder / f"{name}_labels.npy", labels[name])
    mean, std = levels.statistics()
    facts = {
        "source": settings.source,
        "classes": list(decoded.classes),
        "channels": channels,
        "image_size": image_size,
        "mean": mean,
        "std": std,
        "counts": counts,
        "shifted": bounds,
        "arrays": contents,
        "settings": settings.model_dump(mode="json"),
    }
    if encoded:
        facts["decoder"] = first_pixels(open_encoded(folder / "train_images.npy", images["train"], facts))
    if decoded.remarks.counts:
        facts["remarks"] = decoded.remarks.facts()
        log.warning("%s: not read as they are: %s", folder, decoded.remarks.line())
    made_by = config_hash("prepare", settings, [contents[file] for file in ARRAYS])
    artifacts.write_facts(folder / FACTS, facts, config_hash=made_by)


def _labels(decoded: Decoded, rows: dict[str, Rows]) -> tuple[dict[str, Labels], dict[str, list[int]]]:
    """Labels of each array, and where the shifted sets begin and end in theirs."""
    source = {"train": decoded.train.labels, "test": decoded.test.labels, "held_out": decoded.train.labels}
    labels = {name: held[rows[name]] for name, held in source.items()}
    parts = decoded.shifted
    ends = accumulate(map(len, parts.values()), initial=0)
    bounds = {name: list(both) for name, both in zip(parts, pairwise(ends), strict=True)}
    # the empty start gives a set without shifted sets its zero-length array
    shifted = np.concatenate([labels["train"][:0], *(part.labels for part in parts.values())])
    return labels | {"shifted": shifted}, bounds


def _write_images(
    decoded: Decoded, rows: dict[str, Rows], counts: dict[str, int], levels: Levels, folder: Path
) -> dict[str, str]:
    """Decode into the four arrays; they take their names, and their hashes are returned, when all are whole."""
    with ExitStack() as stack:
        shapes = {folder / f"{name}_images.npy": (counts[name], *decoded.train.shape) for name in GROUPS}
        writers = [array_writer(path, shape, np.uint8) for path, shape in shapes.items()]
        sinks = {name: stack.enter_context(one) for name, one in zip(GROUPS, writers, strict=True)}
        for images, is_held_out in _apart(decoded.train, rows["train"], rows["held_out"]):
            levels.add(images[~is_held_out])
            sinks["train"].write(images[~is_held_out])
            sinks["held_out"].write(images[is_held_out])
        for images in decoded.test.pieces(rows["test"]):
            sinks["test"].write(images)
        for part in decoded.shifted.values():
            for images in part.pieces(np.arange(len(part))):
                sinks["shifted"].write(images)
    for name in GROUPS:
        # where the set was encoded before
        remove_shards(folder / f"{name}_images.npy")
    return {name: one.content for name, one in sinks.items()}


def _write_files(
    decoded: Decoded, rows: dict[str, Rows], counts: dict[str, int], levels: Levels, folder: Path
) -> dict[str, str]:
    """Keep the images' files, each of which is decoded once on the way; returns the hashes of their indices."""
    with ExitStack() as stack:
        writers = [records_writer(folder / f"{name}_images.npy", counts[name]) for name in GROUPS]
        sinks = {name: stack.enter_context(one) for name, one in zip(GROUPS, writers, strict=True)}
        # the sink of each image that is asked for, in their order
        turn = iter(np.isin(_joined(rows["train"], rows["held_out"]), rows["held_out"]))

        def keep(content: bytes) -> None:
            sinks["held_out" if next(turn) else "train"].write(content)

        for images, is_held_out in _apart(decoded.train, rows["train"], rows["held_out"], keep=keep):
            levels.add(images[~is_held_out])
        _keep_all(decoded.test, rows["test"], sinks["test"].write)
        for part in decoded.shifted.values():
            _keep_all(part, np.arange(len(part)), sinks["shifted"].write)
    return {name: one.content for name, one in sinks.items()}


def _keep_all(part: AnySplit, rows: Rows, keep: Callable[[bytes], None]) -> None:
    for images in part.pieces(rows) if isinstance(part, Split) else part.pieces(rows, keep=keep):
        # published sets that join this one come as pixels
        for image in images if isinstance(part, Split) else ():
            keep(encode(image))


def _joined(train: Rows, held_out: Rows) -> Rows:
    return np.sort(np.concatenate([train, held_out]))


def _apart(part: AnySplit, train: Rows, held_out: Rows, **options: Any) -> Iterator[tuple[Images, Mask]]:
    """The images at two sets of rows, and which are of the second, a piece at a time: no file is read twice."""
    rows = _joined(train, held_out)
    is_held_out = np.isin(rows, held_out)
    start = 0
    for images in part.pieces(rows, **options):
        yield images, is_held_out[start : start + len(images)]
        start += len(images)
