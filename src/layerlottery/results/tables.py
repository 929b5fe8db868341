"""Result tables on their way to disk: rows go in piece by piece, and what they were made from is remembered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from layerlottery import paths
from layerlottery.results.artifacts import TableWriter, table_writer
from layerlottery.results.provenance import config_hash
from layerlottery.results.schemas import IDENTITY, arrow_schema
from layerlottery.studies import AggregateSettings, Run

Row = dict[str, Any]


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

    def add_tables(self, tables: Sequence[tuple[Run, pa.Table]], **columns: Sequence[float]) -> None:
        """Append the tables of many networks, each with its network's identity and the hash of what made it.

        `columns` hold a value for every row of all the tables.
        """
        if not tables:
            return
        places = pa.array(np.repeat(np.arange(len(tables)), [len(table) for _, table in tables]))
        rows = pa.concat_tables([table for _, table in tables], promote_options="permissive")
        held = {name: rows[name] for name in rows.column_names} | {name: pa.array(columns[name]) for name in columns}
        for column in IDENTITY:
            values = [getattr(run, column.name) for run, _ in tables]
            held[column.name] = pa.array(values, column.type).take(places)
        held["config_hash"] = pa.array([table.schema.metadata[b"config_hash"].decode() for _, table in tables])
        held["config_hash"] = held["config_hash"].take(places)
        null = {field.name: pa.nulls(len(places), field.type) for field in self._schema if field.name not in held}
        self._add(pa.table(held | null, schema=self._schema).combine_chunks())

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
