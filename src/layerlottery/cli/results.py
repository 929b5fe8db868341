"""Commands of the stages that make tables and pages: aggregate, tabulate, manifest, report; summary, leaderboard."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from layerlottery.cli.configuration import CONFIG, changes, configfiles, load_configuration
from layerlottery.cli.options import gather
from layerlottery.cli.panels import PanelCommand
from layerlottery.cli.stages import FILE, FOLDER, OUTPUT, RESULTS, folder_given, stage, with_settings
from layerlottery.cli.status import progress
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.results import ReportSettings
from layerlottery.errors import LayerLotteryError
from layerlottery.store.lock import NAME, held
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


@stage(
    "report",
    click.option("--tables", type=FOLDER, default="results/tables", show_default=True, help="folder of the tables"),
    click.option("--output", type=FILE, help="page to write  [default: report/ beside the tables]"),
    click.option("--against", type=FOLDER, help="another results folder: a page of both, ticket by ticket"),
    click.option("--partial", is_flag=True, help="while the benchmark runs: the networks that are finished"),
    configfiles("with --partial: the benchmark"),
    CONFIG,
)
def report(
    settings: ReportSettings,
    tables: Path,
    output: Path | None,
    against: Path | None,
    partial: bool,
    files: tuple[Path, ...],
    values: tuple[str, ...],
) -> None:
    """Write the self-contained HTML report.

    With --against it is a page that sets two runs side by side, with --partial one of a run that has not ended.
    """
    if partial:
        from layerlottery.report.partial import partial_report

        benchmark = load_configuration(files[0], changes(values, None))
        output = output or tables.parent / "report" / "partial" / "index.html"
        click.echo(terminal(f"{partial_report(tables.parent, benchmark, output)}: {output.resolve()}"))
    elif against is None:
        from layerlottery.report.report import report

        if not (tables / "runs.parquet").exists():
            raise LayerLotteryError(
                f"{tables}: no tables yet; run snakemake --cores all, or see what is finished: --partial"
            )

        report(tables, output or tables.parent / "report" / "index.html", settings)
    else:
        from layerlottery.report.against import against as beside
        from layerlottery.report.against import results_of

        output = output or tables.parent / "report" / "against.html"
        beside(results_of(tables), against, output, settings)
        click.echo(terminal(output.resolve()))


@click.command(cls=PanelCommand)
@click.argument("results", type=FOLDER, nargs=-1, required=True)
@click.option("--output", type=FILE, default="leaderboard.html", show_default=True, help="page; its rows go beside it")
@click.option("--xi", default="1", show_default=True, help="tolerance of the verdicts: percentage points, or sd")
def leaderboard(results: tuple[Path, ...], output: Path, xi: str) -> None:
    """Rank the tickets of many results folders on one page, where their networks share a recipe.

    Each folder needs tables/ and manifest.json, and must pass `layerlottery verify`.
    """
    from layerlottery.report.leaderboard import leaderboard
    from layerlottery.report.tables import tolerance_name
    from layerlottery.upkeep.verify import require_good

    wanted = tolerance_name(gather(ReportSettings, "{}", {"xi": xi}))
    for folder in dict.fromkeys(results):
        require_good(folder)
    rows = leaderboard(results, output, wanted)
    click.echo(terminal(f"{rows} tickets: {output.resolve()} and {output.with_suffix('.parquet').name}"))


@click.command(cls=PanelCommand)
@with_settings(ReportSettings)
@click.argument("folder", type=FOLDER, required=False)
@RESULTS
def summary(settings: ReportSettings, folder: Path | None, results: Path) -> None:
    """Print the summary table of a benchmark; before there is one, how far the run is. Exits with 1 without a table.

    FOLDER may be given in place of --results. Without --xi the tolerance is that of the report.
    """
    from layerlottery.report.text import reported, summary_text

    results = folder_given(folder, results)
    tables = results if (results / "summary.parquet").exists() else results / "tables"
    if not (tables / "summary.parquet").exists():
        return _not_yet(results)
    click.echo(summary_text(tables, settings if "xi" in settings.model_fields_set else reported(results)))
    page = results / "report" / "index.html"
    if page.exists():
        click.echo(terminal(f"\nreport: {page.resolve()}"))
    if held(results):
        click.echo("a benchmark is running here: these tables are of what was there before", err=True)
    return None


def _not_yet(results: Path) -> None:
    """How far the run is that is to make the tables."""
    if not (results / "networks").exists() and not (results / NAME).exists():
        raise LayerLotteryError(f"{results}: no tables here, nor a benchmark; --results names a folder with tables/")
    click.echo(terminal(f"{results}: no tables yet\n"), err=True)
    for line in progress(results):
        click.echo(terminal(line))
    raise click.exceptions.Exit(1)


COMMANDS = (aggregate, tabulate, manifest, report, leaderboard, summary)
