"""One Parquet file of images: its columns, labels and class names at once, its images batch by batch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from layerlottery.config.data import ParquetImages
from layerlottery.data.prepared import Labels, Rows
from layerlottery.errors import LayerLotteryError
from layerlottery.store.artifacts import check_rows
from layerlottery.store.regular import require_regular

# as the sets on Hugging Face call them, the default first. CIFAR-100's coarse_label is taken only if it is asked for
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "labels", "fine_label")

# images of a file that are in memory together, still encoded
_BATCH = 64
# bytes read at once: a file may be one group of rows, of gigabytes
_BUFFER = 1 << 20


@dataclass(frozen=True)
class Shard:
    """A file that was opened and found to be in order; `groups` are the numbers of rows in its row groups."""

    path: Path
    column: str
    labels: Labels
    names: tuple[str, ...] | None
    groups: tuple[int, ...]

    def images(self, rows: Rows) -> Iterator[tuple[str, bytes]]:
        """Name and encoded bytes of the images at `rows` (sorted), without reading other groups of rows."""
        with _opened(self.path) as file:
            for group, start, held in apportioned(rows, self.groups):
                yield from self._of_group(file, group, held, start)

    def _of_group(self, file: pq.ParquetFile, group: int, rows: Rows, start: int) -> Iterator[tuple[str, bytes]]:
        for batch in _batches(file, self.path, self.column, group):
            first, last = np.searchsorted(rows, (start, start + len(batch)))
            taken = batch.column(0).take(pa.array(rows[first:last] - start))
            for row, image in zip(rows[first:last].tolist(), taken.to_pylist(), strict=True):
                name = f"{self.path}: image in row {row} (from 0)"
                content = image and image["bytes"]
                if not isinstance(content, bytes):
                    raise LayerLotteryError(f"{name}: no bytes (images outside the file are not followed)")
                yield name, content
            start += len(batch)
            if last == len(rows):
                return


def apportioned(rows: Rows, counts: Sequence[int]) -> Iterator[tuple[int, int, Rows]]:
    """Number, first row and `rows` (sorted) of each part that holds any of them, of parts of so many rows."""
    for part, end in enumerate(accumulate(counts)):
        start = end - counts[part]
        first, last = np.searchsorted(rows, (start, end))
        if first < last:
            yield part, start, rows[first:last]


def open_shard(path: Path, settings: ParquetImages) -> Shard:
    """Read what is to be known of a file before its images. Raises LayerLotteryError naming the file and the fault."""
    with _opened(path) as file:
        schema = file.schema_arrow
        image = _column(schema, path, "image", settings.image_column, IMAGE_COLUMNS)
        label = _column(schema, path, "label", settings.label_column, LABEL_COLUMNS)
        if twice := [name for name in (image, label) if schema.names.count(name) > 1]:
            raise LayerLotteryError(
                f"{path}: {schema.names.count(twice[0])} columns are called {twice[0]}, allowed: one"
            )
        kind = schema.field(image).type
        if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
            raise LayerLotteryError(f"{path}: column {image} is {kind}, allowed: a struct with bytes")
        if file.metadata.num_rows == 0:
            raise LayerLotteryError(f"{path}: holds no rows")
        groups = tuple(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
        names = _held_names(schema, label)
        if names and len(set(names)) < len(names):
            raise LayerLotteryError(f"{path}: a class name of column {label} stands there twice")
        return Shard(path, image, _labels(file, path, label), names, groups)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    require_regular(path)
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER) as file:
            check_rows(path, file.metadata.num_rows)
            yield file
    # names in a damaged schema may be no text
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise LayerLotteryError(f"{path}: not a readable Parquet file ({type(error).__name__})") from error


def _column(schema: pa.Schema, path: Path, kind: str, chosen: str | None, known: tuple[str, ...]) -> str:
    """The chosen column; if there is none, the default one, else the only known one that is there."""
    wanted, *others = (chosen,) if chosen else known
    if wanted in schema.names:
        return wanted
    if len(present := [name for name in others if name in schema.names]) == 1:
        return present[0]
    found = ", ".join(schema.names) or "none"
    raise LayerLotteryError(f"{path}: column {wanted} missing, found {found}; name one of them in {kind}_column")


def _labels(file: pq.ParquetFile, path: Path, name: str) -> Labels:
    with _reading(path, name):
        column = file.read(columns=[name]).column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not pa.types.is_integer(column.type):
        raise LayerLotteryError(f"{path}: column {name} is {column.type}, allowed: integers from 0")
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise LayerLotteryError(f"{path}: row {row} has no label, allowed: integers from 0")
    labels = column.to_numpy()
    if len(wrong := np.flatnonzero((labels < 0) | (labels > np.iinfo(np.int64).max))):
        # as published for a competition, ImageNet's among them
        hidden = "; all are -1: a test set without labels, name validation files in its place"
        hint = hidden if labels.max() == -1 else ""
        raise LayerLotteryError(f"{path}: row {wrong[0]} has label {labels[wrong[0]]}, allowed: integers from 0{hint}")
    return np.asarray(labels, dtype=np.int64)


def _batches(file: pq.ParquetFile, path: Path, column: str, group: int) -> Iterator[pa.RecordBatch]:
    with _reading(path, column):
        yield from file.iter_batches(_BATCH, row_groups=[group], columns=[f"{column}.bytes"], use_threads=False)


@contextmanager
def _reading(path: Path, column: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise LayerLotteryError(f"{path}: column {column} is not readable ({type(error).__name__})") from error


def _held_names(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    metadata = schema.metadata or {}
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    return tuple(str(name) for name in names) or None
