"""One row per condition under which a network was evaluated: the part of the robustness table that a stage writes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from layerlottery.store import artifacts
from layerlottery.store.hashing import digest
from layerlottery.store.schemas import arrow_schema
from layerlottery.store.stamps import NONE, Inputs


@dataclass(frozen=True)
class RobustnessRow:
    """One network under one condition: units and meaning as in the robustness table; attacks have no calibration.

    `temperature` belongs to the network: the row of its clean test set has it, for the table runs. `answers`,
    `images_hash` and `predicted` are those of the table answers.
    """

    kind: str
    name: str
    level: float
    accuracy: float
    images: int
    origin: str | None = None
    norm: float | None = None
    nll: float | None = None
    brier: float | None = None
    ece: float | None = None
    nll_scaled: float | None = None
    brier_scaled: float | None = None
    ece_scaled: float | None = None
    temperature: float | None = None
    answers: bytes | None = None
    images_hash: str | None = None
    predicted: bytes | None = None


def kept(right: npt.NDArray[np.bool_], images: str) -> dict[str, Any]:
    """Which images were answered right, (N,), packed eight to a byte; `images` is the hash of their list."""
    return {"answers": np.packbits(right).tobytes(), "images_hash": images}


def predicted(logits: npt.NDArray[np.floating[Any]]) -> bytes:
    """The class of the largest logit of every image, (N, classes): a byte each, or two where there are more classes."""
    classes: npt.NDArray[Any] = logits.argmax(axis=1).astype("<u1" if logits.shape[1] <= 256 else "<u2")
    return classes.tobytes()


def list_of(content: str, name: str, indices: npt.NDArray[np.integer[Any]]) -> str:
    """A hash of a list of images: those at these places of a named part of the prepared set of this content."""
    places = hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest()
    return digest([content, name, places])[:16]


def table_of(name: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pa.Table:
    """Rows as a part of a result table: those of its columns."""
    schema = arrow_schema(name)
    return pa.Table.from_pylist(list(rows), pa.schema([schema.field(column) for column in columns]))


def write_conditions(path: Path, rows: Sequence[RobustnessRow], *, config_hash: str, inputs: Inputs = NONE) -> None:
    """Write the rows as a Parquet artifact: the robustness table's columns in its order, then temperature and answers.

    A column without any value is left out: aggregation reads thousands of these files, and a column costs time.
    """
    names = {field.name for field in fields(RobustnessRow)}
    held = [field for field in arrow_schema("robustness") if field.name in names]
    beside = [arrow_schema("answers").field(name) for name in ("answers", "images_hash", "predicted")]
    schema = pa.schema([*held, arrow_schema("runs").field("temperature"), *beside])
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema)
    filled = [name for name in table.column_names if table[name].null_count < len(table)]
    artifacts.write_table(path, table.select(filled), config_hash=config_hash, inputs=inputs)
