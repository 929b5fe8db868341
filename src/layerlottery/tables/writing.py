"""Result tables on their way to disk: rows go in piece by piece, and what they were made from is remembered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from layerlottery import paths
from layerlottery.config.provenance import config_hash
from layerlottery.config.studies import AggregateSettings
from layerlottery.store.artifacts import TableWriter, table_writer
from layerlottery.store.schemas import arrow_schema

Row = dict[str, Any]


def from_rows(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Rows as a table: a column without a value is null, and values without a column are left out."""
    # by way of one struct, as from_pylist asks every row for every column in Python
    return pa.Table.from_struct_array(pa.array(rows, pa.struct(schema)))


def in_schema(held: Mapping[str, Any], schema: pa.Schema, rows: int) -> pa.Table:
    """Columns in the order of a schema: those that are not given are null, those without a place are left out."""

    def column(field: pa.Field) -> Any:
        if field.name not in held:
            return pa.nulls(rows, field.type)
        given = held[field.name]
        return given if isinstance(given, pa.ChunkedArray | pa.Array) else pa.array(given, field.type, from_pandas=True)

    return pa.table([column(field) for field in schema], schema=schema).combine_chunks()


class ResultTable:
    """Takes rows in the order of the configuration; each piece becomes a row group."""

    def __init__(self, writer: TableWriter, schema: pa.Schema) -> None:
        self.rows = 0
        self.made_by: set[str] = set()
        self._writer, self._schema = writer, schema

    def add(self, rows: pa.Table | pd.DataFrame, **columns: Any) -> None:
        """Append rows, with some columns replaced; a column that is not given is null, as NaN in a frame is."""
        names = rows.column_names if isinstance(rows, pa.Table) else rows.columns
        piece = in_schema({name: rows[name] for name in names} | columns, self._schema, len(rows))
        if not len(piece):
            return
        self.rows += len(piece)
        self.made_by.update(piece["config_hash"].unique().to_pylist() if "config_hash" in piece.column_names else [""])
        self._writer.write(piece)


@contextmanager
def result_table(results: Path, name: str, settings: AggregateSettings) -> Iterator[ResultTable]:
    """A table below the results folder, which appears when the block succeeds."""
    schema = arrow_schema(name)
    with table_writer(Path(paths.table(str(results / "tables"), name)), schema) as writer:
        table = ResultTable(writer, schema)
        yield table
        writer.config_hash = config_hash("aggregate", settings, sorted(table.made_by))
