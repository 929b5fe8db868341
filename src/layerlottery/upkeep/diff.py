"""Whether two runs of one configuration gave the same tables: everything but times, energy and provenance."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from layerlottery import paths
from layerlottery.paper.measure import QUANTITIES
from layerlottery.store.artifacts import read_result_table
from layerlottery.store.schemas import RUNS, arrow_schema, columns

# rows of the paper's tables that compare times or energy
MEASURED = [
    quantity.label
    for quantity in QUANTITIES.values()
    if quantity.kind is None and any(column.varies for column in RUNS if column.name == quantity.column)
]


def differences(first: Path, second: Path) -> list[str]:
    """One line for each difference between the tables of two folders; an empty list when they agree bit for bit.

    Raises LayerLotteryError when a table is missing or damaged.
    """
    names = paths.TABLES + paths.PAPER
    pairs = {
        name: [lasting(name, Path(paths.table(str(folder), name))) for folder in (first, second)] for name in names
    }
    return [line for name, (one, other) in pairs.items() for line in _compare(name, one, other)]


def lasting(name: str, path: Path) -> pa.Table:
    """A result table without the columns and rows that may differ from run to run."""
    table = read_result_table(path, arrow_schema(name)).replace_schema_metadata(None)
    if name in paths.PAPER:
        table = table.filter(pc.invert(pc.is_in(table["quantity"], value_set=pa.array(MEASURED))))
    return table.select([column.name for column in columns(name) if not column.varies])


def _compare(name: str, one: pa.Table, other: pa.Table) -> list[str]:
    if len(one) != len(other):
        return [f"{name}: {len(one)} rows and {len(other)}"]
    return [_first(name, column, one, other) for column in one.column_names if not one[column].equals(other[column])]


def _first(name: str, column: str, one: pa.Table, other: pa.Table) -> str:
    pairs = list(zip(one[column].to_pylist(), other[column].to_pylist(), strict=True))
    rows = [number for number, (left, right) in enumerate(pairs) if left != right]
    left, right = pairs[rows[0]]
    return f"{name}.{column}: {len(rows)} rows differ; the first, row {rows[0]}: {left!r} and {right!r}"
