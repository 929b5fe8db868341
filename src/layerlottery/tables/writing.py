"""Result tables on their way to disk: rows go in piece by piece, and what they were made from is remembered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from layerlottery import paths
from layerlottery.config.provenance import config_hash
from layerlottery.config.studies import AggregateSettings, Run
from layerlottery.store.artifacts import TableWriter, table_writer
from layerlottery.store.schemas import IDENTITY, arrow_schema

Row = dict[str, Any]


def identified(name: str, tables: Sequence[tuple[Run, pa.Table]]) -> pa.Table:
    """Tables of many networks as one of schema `name`: each row with its network and the hash of what made it."""
    schema = arrow_schema(name)
    if not tables:
        return schema.empty_table()
    places = pa.array(np.repeat(np.arange(len(tables)), [len(table) for _, table in tables]))
    rows = pa.concat_tables([table for _, table in tables], promote_options="permissive")
    held: dict[str, Any] = {one: rows[one] for one in rows.column_names}
    for column in IDENTITY:
        held[column.name] = pa.array([getattr(run, column.name) for run, _ in tables], column.type).take(places)
    made_by = pa.array([table.schema.metadata[b"config_hash"].decode() for _, table in tables])
    held["config_hash"] = made_by.take(places)
    return in_schema(held, schema, len(places))


def in_schema(held: dict[str, Any], schema: pa.Schema, rows: int) -> pa.Table:
    """Columns in the order of a schema: those that are not given are null, those without a place are left out."""
    columns = [held[field.name] if field.name in held else pa.nulls(rows, field.type) for field in schema]
    return pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema).combine_chunks()


class ResultTable:
    """Takes rows in the order of the configuration; each piece becomes a row group."""

    def __init__(self, writer: TableWriter, schema: pa.Schema) -> None:
        self.rows = 0
        self.made_by: set[str] = set()
        self._writer, self._schema = writer, schema

    def add_rows(self, rows: Sequence[Row]) -> None:
        """Append rows; a column without a value is null, and values without a column are left out."""
        # by way of one struct, as from_pylist asks every row for every column in Python
        self._add(pa.Table.from_struct_array(pa.array(rows, pa.struct(self._schema))))

    def add_columns(self, columns: dict[str, Any], rows: int) -> None:
        """Append rows that are given column by column; a column that is not given is null."""
        self._add(in_schema(columns, self._schema, rows))

    def add_table(self, table: pa.Table, **columns: Any) -> None:
        """Append a table of this schema, with some columns replaced."""
        self.add_columns(dict(zip(table.column_names, table.columns, strict=True)) | columns, len(table))

    def _add(self, piece: pa.Table) -> None:
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
