"""Commands of the stages that make tables and pages: aggregate, tabulate, manifest, report; and the summary."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from layerlottery.cli.options import gather
from layerlottery.cli.panels import PanelCommand
from layerlottery.cli.stages import FOLDER, OUTPUT, stage, with_settings
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.results import ReportSettings
from layerlottery.words import terminal

TABLES = click.option("--tables", type=FOLDER, required=True, help="folder of the tables")


@stage("aggregate", click.option("--results", type=FOLDER, required=True, help="results folder"))
def aggregate(**given: Any) -> None:
    """Collect every network's results into Parquet tables."""
    from layerlottery.tables.aggregate import aggregate

    for name, rows in aggregate(**given).items():
        logging.getLogger("layerlottery").info("%s: %d rows", name, rows)


@stage("tabulate", TABLES)
def tabulate(**given: Any) -> None:
    """Write the paper's tables and figure beside what was measured: Parquet, Markdown and LaTeX."""
    from layerlottery.paper.tabulate import tabulate

    tabulate(**given)


@stage("manifest")
@click.option("--settings", required=True, metavar="JSON", help="the whole configuration as JSON")
@TABLES
@OUTPUT
def manifest(settings: str, tables: Path, output: Path) -> None:
    """Write what the tables were made with: configuration, code, machines, jobs, hashes."""
    from layerlottery.tables.manifest import manifest

    manifest(tables, output, gather(Benchmark, settings, {}))


@stage("report", TABLES, OUTPUT)
def report(**given: Any) -> None:
    """Write the self-contained HTML report."""
    from layerlottery.report.report import report

    report(**given)


@click.command(cls=PanelCommand)
@with_settings(ReportSettings)
@click.option("--results", type=FOLDER, default="results", show_default=True)
def summary(settings: ReportSettings, results: Path) -> None:
    """Print the summary table of a finished benchmark."""
    from layerlottery.report.text import summary_text

    click.echo(summary_text(results / "tables", settings))
    click.echo(terminal(f"\nreport: {(results / 'report' / 'index.html').resolve()}"))


COMMANDS = (aggregate, tabulate, manifest, report)
