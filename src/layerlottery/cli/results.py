"""Commands of the stages that make tables and pages: aggregate, tabulate, manifest, report; summary, leaderboard."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from layerlottery.cli.configuration import CONFIG, changes, load_configuration
from layerlottery.cli.panels import PanelCommand
from layerlottery.cli.stages import (
    FILE,
    FOLDER,
    OUTPUT,
    RESULTS,
    TOGETHER,
    folder_given,
    stage,
    tables_in,
    with_settings,
)
from layerlottery.cli.status import progress
from layerlottery.errors import LayerLotteryError
from layerlottery.store.lock import NAME, held
from layerlottery.words import terminal

if TYPE_CHECKING:
    from layerlottery.config.results import ReportSettings

TABLES = click.option("--tables", type=FOLDER, required=True, help="folder of the tables")
RUNNING = "a benchmark is running here: these tables are of what was there before"


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
    from layerlottery.cli.settings import gather
    from layerlottery.config.benchmark import Benchmark
    from layerlottery.tables.manifest import manifest

    manifest(tables, output, gather(Benchmark, settings, {}))


@stage(
    "report",
    click.argument("folder", type=FOLDER, required=False),
    click.option("--results", type=FOLDER, help="results folder  [default: results]"),
    click.option("--tables", type=FOLDER, help="folder of the tables, in place of --results"),
    click.option("--output", type=FILE, help="page to write, .html  [default: report/ beside the tables]"),
    click.option("--against", type=FOLDER, help="another results folder: a page of both, ticket by ticket"),
    click.option("--partial", is_flag=True, help="while the benchmark runs: the networks that are finished"),
    click.option("--configfile", "files", type=FILE, multiple=True, help="with --partial  [default: config.yaml]"),
    CONFIG,
)
def report(
    settings: ReportSettings,
    folder: Path | None,
    results: Path | None,
    tables: Path | None,
    output: Path | None,
    against: Path | None,
    partial: bool,
    files: tuple[Path, ...],
    values: tuple[str, ...],
) -> None:
    """Write the self-contained HTML report, of the folder's own settings where none are given.

    FOLDER may be given in place of --results. With --against it is a page that sets two runs side by side, with
    --partial one of a run that has not ended.
    """
    if output is not None and output.suffix != ".html":
        raise LayerLotteryError(f"--output: found {output.name}; allowed: a name that ends in .html")
    results = folder_given(folder, results)
    if results is not None and tables is not None:
        raise LayerLotteryError(f"--results: found {results} beside --tables {tables}; allowed: one of them")
    if (files or values) and not partial:
        raise LayerLotteryError("--configfile, --config: found without --partial; allowed: with it")
    if partial:
        from layerlottery.report.partial import partial_report

        benchmark = load_configuration(files[0] if files else Path("config.yaml"), changes(values, None))
        results = results or (tables.parent if tables else Path(benchmark.results))
        output = output or results / "report" / "partial" / "index.html"
        wanted = benchmark.report.model_copy(update=settings.model_dump(include=settings.model_fields_set))
        click.echo(terminal(f"{partial_report(results, benchmark, wanted, output)}: {output.resolve()}"))
        return
    tables = tables or (results or Path("results")) / "tables"
    if not (tables / "runs.parquet").exists() and against is None:
        raise LayerLotteryError(f"{tables}: no tables yet; run snakemake --cores all, or see --partial")
    # a stage's job says all of its settings, which may all be the default; a person often says none
    if not settings.model_fields_set and not _stated("settings"):
        from layerlottery.report.text import reported

        settings = reported(tables.parent) or settings
    if against is None:
        from layerlottery.report.report import report

        report(tables, output or tables.parent / "report" / "index.html", settings)
    else:
        from layerlottery.report.against import against as beside
        from layerlottery.report.against import results_of

        output = output or tables.parent / "report" / "against.html"
        beside(results_of(tables), against, output, settings)
        click.echo(terminal(output.resolve()))


def _stated(option: str) -> bool:
    """Whether the command line holds an option, whatever its value."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


@click.command(cls=PanelCommand)
@click.argument("results", type=FOLDER, nargs=-1, required=True)
@click.option("--output", type=FILE, default="leaderboard.html", show_default=True, help="page; its rows go beside it")
@click.option("--xi", default="1", show_default=True, help="tolerance of the verdicts: percentage points, or sd")
def leaderboard(results: tuple[Path, ...], output: Path, xi: str) -> None:
    """Rank the tickets of many results folders on one page, where their networks share a recipe.

    Each folder needs tables/ and manifest.json, and must pass `layerlottery verify`.
    """
    from layerlottery.cli.settings import gather
    from layerlottery.config.results import ReportSettings
    from layerlottery.report.leaderboard import leaderboard
    from layerlottery.report.tables import tolerance_name
    from layerlottery.upkeep.verify import require_good

    wanted = tolerance_name(gather(ReportSettings, "{}", {"xi": xi}))
    for folder in dict.fromkeys(results):
        require_good(folder)
    rows = leaderboard(results, output, wanted)
    click.echo(terminal(f"{rows} tickets: {output.resolve()} and {output.with_suffix('.parquet').name}"))


def _report_settings() -> Any:
    from layerlottery.config.results import ReportSettings

    return ReportSettings


@with_settings(_report_settings)
@click.argument("folder", type=FOLDER, required=False)
@RESULTS
def summary(settings: ReportSettings, folder: Path | None, results: Path) -> None:
    """Print the summary table of a benchmark; before there is one, how far the run is. Exits with 1 without a table.

    FOLDER may be given in place of --results. Without --xi the tolerance is that of the report.
    """
    from layerlottery.report.text import reported, summary_text

    results = folder_given(folder, results)
    tables = tables_in(results)
    if not any((tables / name).exists() for name in TOGETHER):
        return _not_yet(results)
    text = summary_text(tables, settings if "xi" in settings.model_fields_set else reported(results))
    running = held(results)
    if running:
        # also where one of the two is piped
        click.echo(f"{RUNNING}\n")
    click.echo(text)
    page = results / "report" / "index.html"
    if page.exists():
        click.echo(terminal(f"\nreport: {page.resolve()}"))
    if running:
        click.echo(RUNNING, err=True)
    return None


def _not_yet(results: Path) -> None:
    """How far the run is that is to make the tables."""
    if not (results / "networks").exists() and not (results / NAME).exists():
        raise LayerLotteryError(f"{results}: no tables here, nor a benchmark; --results names a folder with tables/")
    lines = list(progress(results))
    click.echo(terminal(f"{results}: no tables yet\n"), err=True)
    for line in lines:
        click.echo(terminal(line))
    raise click.exceptions.Exit(1)
