"""The columns of every result table, with unit and meaning, as columns.toml beside this file states them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

TYPES = {
    "text": pa.string(),
    "integer": pa.int64(),
    "real": pa.float64(),
    "blocks": pa.list_(pa.string()),
    "truth": pa.bool_(),
    "bytes": pa.binary(),
}


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type and its meaning.

    `varies` marks what may differ between two runs of one configuration on one kind of machine: times, energy,
    provenance.
    """

    name: str
    type: pa.DataType
    meaning: str
    varies: bool = False


STATED: dict[str, Any] = tomllib.loads(Path(__file__).with_name("columns.toml").read_text(encoding="utf-8"))


def _columns(entries: Sequence[str | list[str]]) -> Iterator[Column]:
    """The columns of a list in columns.toml, groups resolved."""
    for entry in entries:
        if isinstance(entry, str):
            group, _, names = entry.removeprefix("*").partition(": ")
            held = _columns(STATED["groups"][group])
            yield from (column for column in held if not names or column.name in names.split(", "))
        else:
            name, kind, meaning, *varies = entry
            yield Column(name, TYPES[kind], meaning, varies == ["varies"])


IDENTITY, TICKET = (tuple(_columns(STATED["groups"][group])) for group in ("identity", "ticket"))
TABLES = {name: tuple(_columns(table["columns"])) for name, table in STATED["tables"].items()}
RUNS, PAPER = TABLES["runs"], TABLES.pop("paper")
PAPER_TABLES = dict.fromkeys(STATED["paper"], PAPER)
# what each table has a row for
ABOUT = {name: STATED["tables"][name]["about"] for name in TABLES} | STATED["paper"]


def columns(table: str) -> tuple[Column, ...]:
    """The columns of a result table or of one of the paper's."""
    return (TABLES | PAPER_TABLES)[table]


def arrow_schema(table: str) -> pa.Schema:
    """The Arrow schema of a result table."""
    return pa.schema([pa.field(column.name, column.type) for column in columns(table)])
