"""Commands that print reference texts made from the code, so that they can't lag behind it: schema, dictionary."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

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


# config/README.md, which Snakemake's workflow catalogue shows; every other line follows from the schema
CONFIGURATION = """\
# Configuration

A benchmark is one YAML file. [config.yaml](../config.yaml), the default one, is commented line by line; others are
in [workflow/presets](../workflow/presets), and `snakemake --configfile FILE` takes one of them, or yours, in its
place. Unknown keys, and values out of their limits, are refused in one line before anything runs.

Only `datasets` and `studies` are needed. Every key with its type and limits is in
[workflow/schemas/config.schema.json](../workflow/schemas/config.schema.json), which editors read. Image sets are
explained in [docs/data.md](../docs/data.md), criteria and studies in [docs/method.md](../docs/method.md), code
of your own in [docs/extending.md](../docs/extending.md). Input data need no preparation: sets are read from where they
lie, as their publishers lay them out. A change of a key reruns what depends on it, and nothing else.

This page is made by `layerlottery schema --format markdown`.
"""
SECTIONS = {"Study": "An entry of `studies`", "TrainingSettings": "`training`, and likewise `fine_tuning`"}


def configuration_page() -> str:
    """The configuration's keys as Markdown: all of the top level, and those of studies and recipes."""
    schema = json.loads(configuration_schema())
    parts = [CONFIGURATION, *_keys("All keys", schema)]
    for name, title in SECTIONS.items():
        parts += _keys(title, schema["$defs"][name])
    return "\n".join(parts)


def _keys(title: str, model: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {title}\n"
    yield from ("| key | default | meaning |", "|---|---|---|")
    for name, field in model["properties"].items():
        default = field.get("default")
        if "default" not in field:
            shown = "needed"
        elif isinstance(default, dict):
            # its keys are listed below, or in the schema
            shown = ""
        else:
            shown = f"`{json.dumps(default)}`"
        meaning = field["description"].replace("|", "\\|")
        yield f"| `{name}` | {shown} | {meaning} |"
    yield ""


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
    click.echo(configuration_schema() if form == "json" else configuration_page(), nl=False)


@click.command(cls=PanelCommand)
def dictionary() -> None:
    """Print the data dictionary of the result tables as Markdown."""
    click.echo(data_dictionary(), nl=False)


COMMANDS = (schema, dictionary)
