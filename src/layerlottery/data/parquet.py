"""Parquet files in the Hugging Face layout: columns image (struct of bytes and path) and label, in one file or many."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from glob import glob
from itertools import combinations
from pathlib import Path

import numpy as np

from layerlottery.config.data import Files, ParquetImages, place
from layerlottery.data.decode import Decoded, Read, encoded_set
from layerlottery.data.pixels import Source
from layerlottery.data.prepared import Labels, Rows
from layerlottery.data.remarks import Remarks
from layerlottery.data.shards import Shard, apportioned, open_shard
from layerlottery.errors import LayerLotteryError

log = logging.getLogger(__name__)


def load_parquet(settings: ParquetImages) -> Decoded:
    """Open every file of the set and read its labels; images are decoded when they are asked for.

    Raises LayerLotteryError naming the file, and the row of a bad image.
    """
    files = {"train": settings.train, "test": settings.test}
    files |= {f"shifted.{name}": chosen for name, chosen in settings.shifted.items()}
    # all files are opened before the first is decoded: a wrong path shows at once
    paths = {key: _paths(place(settings.location), chosen) for key, chosen in files.items()}
    _check_disjoint(paths)
    shards = {key: [open_shard(path, settings) for path in found] for key, found in paths.items()}
    named = shards["train"][0].names
    # without names labels are their own
    numbers = np.unique(np.concatenate([shard.labels for shard in shards["train"]]))
    classes = named or tuple(map(str, numbers.tolist()))
    order = None if named else numbers
    labels = {key: np.concatenate([_in_order(one, classes, order) for one in held]) for key, held in shards.items()}
    parts = {key: _part(settings, files[key], held, labels[key]) for key, held in shards.items()}
    return encoded_set(classes, settings, parts, Remarks(settings.strict))


def _paths(location: Path, chosen: Files) -> list[Path]:
    """The files of a split: of each pattern sorted by name, the patterns in their order."""
    found: list[Path] = []
    for name in _names(chosen):
        # a name that holds the signs of a pattern is a name, too
        if (location / name).is_file() or not any(sign in name for sign in "*?["):
            found.append(location / name)
            continue
        # unlike Path.glob it leaves out hidden files, and takes a pattern that begins with /
        if not (matching := sorted(glob(name, root_dir=location, recursive=True))):  # noqa: PTH207
            raise LayerLotteryError(f"{location / name}: no file has such a name")
        found += [location / one for one in matching]
    if len(set(found)) < len(found):
        twice = next(path for path in found if found.count(path) > 1)
        raise LayerLotteryError(f"{twice}: named twice, its images would count twice")
    return found


def _check_disjoint(paths: dict[str, list[Path]]) -> None:
    # one and the same file in two places is somebody's wish, what a pattern took along is not
    for (one, first), (other, second) in combinations(paths.items(), 2):
        shared = set(first) & set(second)
        if shared and len(first) + len(second) > 2:
            raise LayerLotteryError(f"{min(shared)}: found in {one} and in {other}, allowed: one of them")


def _part(settings: ParquetImages, chosen: Files, shards: Sequence[Shard], labels: Labels) -> tuple[str, Labels, Read]:
    name = " ".join(str(place(settings.location) / name) for name in _names(chosen))
    return name, labels, partial(_read, shards)


def _names(chosen: Files) -> list[str]:
    return [str(place(name)) for name in ([chosen] if isinstance(chosen, str) else chosen)]


def _read(shards: Sequence[Shard], rows: Rows) -> Iterator[tuple[str, Source]]:
    """The named images at `rows` (sorted) of all shards in a row."""
    for number, start, held in apportioned(rows, [len(shard.labels) for shard in shards]):
        yield from shards[number].images(held - start)


def _in_order(shard: Shard, classes: tuple[str, ...], numbers: Labels | None) -> Labels:
    """A file's labels as indices into the classes: by name where it has names, else by number."""
    labels, names = shard.labels, shard.names
    if names is not None:
        if not set(names) <= set(classes):
            reason = f"its class names {names} differ from those of the training file, {classes}"
            raise LayerLotteryError(f"{shard.path}: {reason}")
        if labels.max() >= len(names):
            raise LayerLotteryError(f"{shard.path}: label {labels.max()} found, allowed: 0 to {len(names) - 1}")
        return np.array([classes.index(name) for name in names], dtype=np.int64)[labels]
    if numbers is None:
        return labels
    if len(strange := np.setdiff1d(labels, numbers)):
        raise LayerLotteryError(f"{shard.path}: label {strange[0]} found, no training image has it")
    return np.searchsorted(numbers, labels).astype(np.int64)
