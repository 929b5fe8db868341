"""The stage `tabulate`: the paper's tables, figure 3 and claims beside what was measured. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from layerlottery import paths
from layerlottery.config.provenance import config_hash
from layerlottery.config.studies import TabulateSettings
from layerlottery.paper.claims import claim_rows
from layerlottery.paper.measure import Results, Row
from layerlottery.paper.render import latex, markdown
from layerlottery.paper.rows import Context
from layerlottery.paper.tables import figure3_rows, table_rows
from layerlottery.store.artifacts import read_result_table, write_document, write_table
from layerlottery.store.chain import Chain
from layerlottery.store.schemas import arrow_schema
from layerlottery.store.stamps import Stamp

if TYPE_CHECKING:
    import pandas as pd

READ = ("runs", "robustness", "scores", "similarity", "summary", "comparisons", "resilience")


def tabulate(tables: Path, settings: TabulateSettings) -> None:
    """Read the result tables of a folder; write the paper's beside them, as Parquet, Markdown and LaTeX."""
    held, chain = {}, Chain()
    for name in READ:
        path = Path(paths.table(str(tables), name))
        held[name] = read_result_table(path, arrow_schema(name))
        chain.add(path, Stamp.from_pairs(held[name].schema.metadata).hash)
    made_by = config_hash("tabulate", settings, [table.schema.metadata[b"seal"].decode() for table in held.values()])
    context = Context(Results(**{name: table.to_pylist() for name, table in held.items()}), settings)
    for name in paths.PAPER:
        rows = paper_rows(name, context)
        table = pa.Table.from_pylist(rows, schema=arrow_schema(name))
        write_table(Path(paths.table(str(tables), name)), table, config_hash=made_by, inputs=chain.inputs)
        confidence = settings.statistics.confidence
        for suffix, text, comment in (("md", markdown, ("<!-- ", " -->")), ("tex", latex, ("% ", ""))):
            path = Path(paths.table(str(tables), name, suffix))
            document = text(name, rows, confidence=confidence)
            write_document(path, document, comment=comment, config_hash=made_by, inputs=chain.inputs)


def paper_rows(name: str, context: Context) -> list[Row]:
    """The rows of one of paths.PAPER."""
    if name == "figure3":
        return figure3_rows(context)
    return claim_rows(context) if name == "claims" else table_rows(name, context)


def read_paper_tables(tables: Path) -> dict[str, pd.DataFrame]:
    """All of paths.PAPER by name, with the columns of schemas.PAPER. Raises when one is missing or broken."""
    return {
        name: read_result_table(Path(paths.table(str(tables), name)), arrow_schema(name)).to_pandas()
        for name in paths.PAPER
    }
