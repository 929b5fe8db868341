"""Commands that print reference texts made from the code, so that they can't lag behind it: schema, dictionary."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from layerlottery.cli.panels import PanelCommand

if TYPE_CHECKING:
    from layerlottery.store.schemas import Column


def configuration_schema() -> str:
    """JSON schema of the configuration file, for editors and for workflow/schemas."""
    from layerlottery.config.benchmark import Benchmark

    schema = Benchmark.model_json_schema()
    # a change to a built-in criterion need not repeat its formula
    schema["$defs"]["CriterionSettings"].pop("required", None)
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema, indent=1) + "\n"


def data_dictionary() -> str:
    """Every column of every result table, as Markdown."""
    from layerlottery.store.schemas import ABOUT, PAPER, PAPER_TABLES, TABLES

    parts = [
        "# Data dictionary\n",
        "The tables in `results/tables/` are Parquet files. This page is made by `layerlottery dictionary` from",
        "`src/layerlottery/store/columns.toml`; a test keeps the two equal. † marks what may differ between two runs",
        "of one configuration: times, energy and provenance. All else is equal bit for bit on one kind of machine",
        "(`layerlottery diff RESULTS OTHER`).\n",
    ]
    for name, columns in TABLES.items():
        parts += [
            f"## {name}.parquet\n",
            f"{ABOUT[name].capitalize()}.\n",
            "| column | type | meaning |",
            "|---|---|---|",
        ]
        parts += [_line(column) for column in columns]
        parts.append("")
    parts += [
        "## The paper's tables\n",
        "Each of these is also written as Markdown and as LaTeX. They share their columns.\n",
        *(f"- `{name}.parquet`: {ABOUT[name]}" for name in PAPER_TABLES),
        "",
        "| column | type | meaning |",
        "|---|---|---|",
        *map(_line, PAPER),
        "",
    ]
    return "\n".join(parts)


def _line(column: Column) -> str:
    mark = " †" if column.varies else ""
    return f"| `{column.name}` | {column.type} | {column.meaning}{mark} |"


@click.command(cls=PanelCommand)
@click.option("--format", "form", type=click.Choice(["json", "markdown"]), default="json", show_default=True)
def schema(form: str) -> None:
    """Print the JSON schema of the configuration file, or its keys as a page."""
    from layerlottery.cli.configuration_page import every_key

    text = configuration_schema()
    click.echo(text if form == "json" else every_key(json.loads(text)), nl=False)


@click.command(cls=PanelCommand)
def dictionary() -> None:
    """Print the data dictionary of the result tables as Markdown."""
    click.echo(data_dictionary(), nl=False)


COMMANDS = (schema, dictionary)
