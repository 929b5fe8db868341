"""One row per condition under which a network was evaluated: the part of the robustness table that a stage writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa

from layerlottery.results import artifacts
from layerlottery.results.schemas import arrow_schema


@dataclass(frozen=True)
class Condition:
    """Units and meaning as in the robustness table; attacks have no calibration."""

    kind: str
    name: str
    level: float
    accuracy: float
    images: int
    nll: float | None = None
    brier: float | None = None
    ece: float | None = None


def write_conditions(path: Path, rows: Sequence[Condition], *, config_hash: str) -> None:
    """Write the rows as a Parquet artifact, in the order of the robustness table's columns."""
    names = {field.name for field in fields(Condition)}
    schema = pa.schema([field for field in arrow_schema("robustness") if field.name in names])
    artifacts.write_table(path, pa.Table.from_pylist([asdict(row) for row in rows], schema), config_hash=config_hash)
