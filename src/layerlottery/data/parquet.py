"""Parquet files in the Hugging Face layout: columns image (struct of bytes and path) and label."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from layerlottery.data.decode import Decoded, Form, decode_all
from layerlottery.data.prepared import Labels, Split
from layerlottery.errors import LayerLotteryError
from layerlottery.settings import ParquetImages

log = logging.getLogger(__name__)


def load_parquet(settings: ParquetImages) -> Decoded:
    """Decode every file of the set. Raises LayerLotteryError naming the file, and the row of a bad image."""
    location = Path(settings.location)
    paths = {"train": location / settings.train, "test": location / settings.test}
    paths |= {f"shifted.{name}": location / file for name, file in settings.shifted.items()}
    # all files are opened before the first is decoded: a wrong path shows at once
    files = {key: _open(path) for key, path in paths.items()}
    labels = {key: _labels(file, paths[key]) for key, file in files.items()}
    classes = _class_names(files["train"], paths["train"], labels["train"])
    form, splits = Form.wanted(settings), {}
    for key, file in files.items():
        _check_names(file, paths[key], classes)
        log.info("decoding %s", paths[key])
        images = decode_all(_encoded(file, paths[key]), len(labels[key]), form)
        splits[key] = Split(images, labels[key])
        form = form.followed_by(splits[key])
    shifted = {name: splits[f"shifted.{name}"] for name in settings.shifted}
    return Decoded(classes, splits["train"], splits["test"], shifted)


def _open(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise LayerLotteryError(f"{path}: no such file")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise LayerLotteryError(f"{path}: not a readable Parquet file ({type(error).__name__})") from error
    schema = file.schema_arrow
    if missing := [column for column in ("image", "label") if column not in schema.names]:
        found = ", ".join(schema.names) or "none"
        raise LayerLotteryError(f"{path}: column {' and '.join(missing)} missing, found {found}")
    image = schema.field("image").type
    if not pa.types.is_struct(image) or image.get_field_index("bytes") < 0:
        raise LayerLotteryError(f"{path}: column image is {image}, allowed is a struct with bytes")
    if file.metadata.num_rows == 0:
        raise LayerLotteryError(f"{path}: holds no rows")
    return file


def _labels(file: pq.ParquetFile, path: Path) -> Labels:
    column = _read(file, path, "label")
    if not pa.types.is_integer(column.type):
        raise LayerLotteryError(f"{path}: column label is {column.type}, allowed are integers from 0")
    if column.null_count:
        row = column.is_null().index(True).as_py()
        raise LayerLotteryError(f"{path}: row {row} has no label, allowed are integers from 0")
    labels: Labels = column.to_numpy().astype(np.int64)
    if labels.min() < 0:
        row = int(np.argmax(labels < 0))
        raise LayerLotteryError(f"{path}: row {row} has label {labels[row]}, allowed are integers from 0")
    return labels


def _read(file: pq.ParquetFile, path: Path, column: str, group: int | None = None) -> pa.ChunkedArray:
    try:
        table = file.read(columns=[column]) if group is None else file.read_row_group(group, columns=[column])
    except (pa.ArrowException, OSError) as error:
        raise LayerLotteryError(f"{path}: column {column} is not readable ({type(error).__name__})") from error
    return table.column(column)


def _encoded(file: pq.ParquetFile, path: Path) -> Iterator[tuple[str, bytes]]:
    row = 0
    # one row group at a time: a large set is never in memory twice
    for group in range(file.num_row_groups):
        for image in _read(file, path, "image", group).to_pylist():
            name = f"{path}: image in row {row} (from 0)"
            content = image and image["bytes"]
            if not isinstance(content, bytes):
                raise LayerLotteryError(f"{name}: no bytes (images outside the file are not followed)")
            yield name, content
            row += 1


def _class_names(file: pq.ParquetFile, path: Path, labels: Labels) -> tuple[str, ...]:
    if names := _held_names(file):
        return names
    found = np.unique(labels)
    if len(found) != found[-1] + 1:
        gap = int(np.argmax(found != np.arange(len(found))))
        raise LayerLotteryError(f"{path}: labels go up to {found[-1]} but {gap} is missing, allowed is 0, 1, 2, …")
    return tuple(str(label) for label in found)


def _held_names(file: pq.ParquetFile) -> tuple[str, ...] | None:
    metadata = file.schema_arrow.metadata or {}
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    return tuple(str(name) for name in names) or None


def _check_names(file: pq.ParquetFile, path: Path, classes: tuple[str, ...]) -> None:
    if (names := _held_names(file)) and names != classes:
        raise LayerLotteryError(f"{path}: its class names {names} differ from those of the training file, {classes}")
