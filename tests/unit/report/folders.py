"""Finished results folders of synthetic benchmarks: all tables and a manifest, which `layerlottery verify` accepts."""

import pyarrow as pa

from layerlottery import paths
from layerlottery.config.loading import load_benchmark
from layerlottery.store.artifacts import read_table, write_document, write_table
from layerlottery.store.schemas import arrow_schema
from layerlottery.tables.manifest import manifest

CONFIGURATION = {
    "datasets": {"digits": {"source": "digits"}},
    "studies": [
        {
            "name": "one",
            "datasets": ["digits"],
            "networks": ["resnet32"],
            "seeds": [0],
            "criteria": ["snip"],
            "removed": [1],
        }
    ],
}
MARKS = {".md": ("<!-- ", " -->"), ".tex": ("% ", "")}


def finished(write, folder, *, columns=None, **configuration):
    """A results folder whose tables `write(folder)` writes.

    `columns` replaces values in tables, {table: {column: value or function of the old one}}; `configuration` changes
    what the manifest says.
    """
    write(folder / "tables")
    for name, changes in (columns or {}).items():
        replace(folder / "tables" / f"{name}.parquet", name, changes)
    for file in map(str, paths.table_files(str(folder / "tables"))):
        for suffix, comment in MARKS.items():
            if file.endswith(suffix):
                write_document(
                    folder / "tables" / file.rpartition("/")[2], "text", comment=comment, config_hash="0" * 64
                )
    manifest(folder / "tables", folder / "manifest.json", load_benchmark(CONFIGURATION | configuration))
    return folder


def replace(path, name, changes):
    """Write a table again with other values in some columns."""
    table = read_table(path).replace_schema_metadata(None)
    for place, field in enumerate(arrow_schema(name)):
        if field.name in changes:
            new = changes[field.name]
            values = [new(value) if callable(new) else new for value in table[field.name].to_pylist()]
            table = table.set_column(place, field, pa.array(values, field.type))
    write_table(path, table, config_hash="0" * 64)
