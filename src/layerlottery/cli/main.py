"""The command line: one command per stage. Heavy imports wait until a command needs them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click
from pydantic import TypeAdapter

from layerlottery.cli import evaluation, tools
from layerlottery.cli.guard import run_guarded
from layerlottery.cli.options import (
    CHECKPOINT,
    CHECKPOINT_SECONDS,
    DATA,
    FILE,
    KEPT,
    OUTPUT,
    SEED,
    STRUCTURE,
    TABLES,
    WEIGHTS,
    gather,
    log_option,
    machine_options,
    settings_options,
    union_fields,
)
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.criteria import CriterionSettings, Structure
from layerlottery.config.data import Dataset
from layerlottery.config.networks import Network
from layerlottery.config.results import ProfileSettings, ReportSettings
from layerlottery.config.studies import AggregateSettings, TabulateSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.runtime.machine import use_machine
from layerlottery.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__)
def cli() -> None:
    """Layer pruning at initialization, stage by stage. Snakemake calls the same commands."""


@cli.command()
@settings_options(*union_fields(Dataset))
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), required=True, help="folder to write")
@log_option
def prepare(settings: str, output: Path, **options: Any) -> None:
    """Decode an image set once, to uint8 arrays that later stages memory-map."""
    from layerlottery.data.prepare import prepare as stage

    stage(gather(TypeAdapter(Dataset), settings, options), output)


@cli.command()
@settings_options(*union_fields(Network))
@DATA
@OUTPUT
@SEED
@click.option("--draw", type=click.IntRange(0), default=0, show_default=True, help="0 is θ0, others are fresh weights")
@log_option
def initialize(settings: str, data: Path, output: Path, seed: int, draw: int, **options: Any) -> None:
    """Draw the random weights that a dense network and its tickets share."""
    from layerlottery.networks.initialize import initialize_network

    initialize_network(data, output, gather(TypeAdapter(Network), settings, options), seed=seed, draw=draw)


@cli.command()
@settings_options(CriterionSettings)
@WEIGHTS
@DATA
@OUTPUT
@STRUCTURE
@SEED
@click.option("--draw", type=click.IntRange(0), default=0, show_default=True, help="draw of random choices and images")
@machine_options
@log_option
def score(
    settings: str,
    weights: Path,
    data: Path,
    output: Path,
    structure: str,
    seed: int,
    draw: int,
    threads: int,
    device: str,
    **options: Any,
) -> None:
    """Score the residual blocks of a network, its filters or its weights."""
    chosen = gather(CriterionSettings, settings, options)
    on = use_machine(threads, device)
    from layerlottery.criteria.elements import score_filters, score_weights
    from layerlottery.criteria.score import score as score_layers

    stage = {"layers": score_layers, "filters": score_filters, "weights": score_weights}[structure]
    stage(weights, data, output, chosen, seed=seed, draw=draw, device=on)


@cli.command()
@WEIGHTS
@click.option("--scores", type=FILE, required=True, help="scores of the dense network: scores.json, or of weights")
@click.option("--removed", type=click.IntRange(0), required=True, help="how many residual blocks go")
@STRUCTURE
@click.option("--budget", type=FILE, help="filters, weights: scores.json of the blocks that set how many stay")
@OUTPUT
@click.option("--output-facts", type=FILE, required=True, help="JSON file to write: what went and what stayed")
@log_option
def prune(
    weights: Path,
    scores: Path,
    removed: int,
    structure: Structure,
    budget: Path | None,
    output: Path,
    output_facts: Path,
) -> None:
    """Remove the lowest-scored blocks, or as many filters or weights; the kept ones keep their weights."""
    from layerlottery.networks.prune import prune as stage

    stage(weights, scores, output, output_facts, removed=removed, structure=structure, budget=budget)


@cli.command()
@settings_options(TrainingSettings)
@WEIGHTS
@DATA
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="folder for weights.safetensors, curve.parquet and training.json",
)
@CHECKPOINT
@CHECKPOINT_SECONDS
@click.option("--start-epoch", type=click.IntRange(0), default=0, show_default=True, help="first epochs left out")
@click.option("--keep", type=click.IntRange(1), multiple=True, help="epoch whose weights are kept; repeat for several")
@KEPT
@SEED
@machine_options
@log_option
def train(
    settings: str,
    weights: Path,
    data: Path,
    output: Path,
    checkpoint: Path | None,
    checkpoint_seconds: float,
    start_epoch: int,
    keep: tuple[int, ...],
    kept: Path | None,
    seed: int,
    threads: int,
    device: str,
    **options: Any,
) -> None:
    """Train a network from given weights. SIGTERM saves a checkpoint and exits with 75."""
    chosen = gather(TrainingSettings, settings, options)
    on = use_machine(threads, device)
    from layerlottery.training.progress import epoch_reporter
    from layerlottery.training.train import train as stage

    with epoch_reporter(chosen.epochs) as on_epoch:
        stage(
            weights,
            data,
            output,
            chosen,
            seed=seed,
            device=on,
            start_epoch=start_epoch,
            checkpoint=checkpoint,
            checkpoint_seconds=checkpoint_seconds,
            keep=keep,
            kept=kept,
            on_epoch=on_epoch,
        )


@cli.command()
@settings_options(TrainingSettings)
@WEIGHTS
@DATA
@OUTPUT
@click.option("--epoch", type=click.IntRange(1), required=True, help="epoch after which the weights are wanted")
@CHECKPOINT
@CHECKPOINT_SECONDS
@KEPT
@SEED
@machine_options
@log_option
def rewind(
    settings: str,
    weights: Path,
    data: Path,
    output: Path,
    epoch: int,
    checkpoint: Path | None,
    checkpoint_seconds: float,
    kept: Path | None,
    seed: int,
    threads: int,
    device: str,
    **options: Any,
) -> None:
    """Weights of a dense network after an epoch: kept ones, or trained again."""
    chosen = gather(TrainingSettings, settings, options)
    on = use_machine(threads, device)
    from layerlottery.training.progress import epoch_reporter
    from layerlottery.training.rewind import rewind as stage

    with epoch_reporter(epoch) as on_epoch:
        stage(
            weights,
            data,
            output,
            chosen,
            epoch=epoch,
            seed=seed,
            device=on,
            kept=kept,
            checkpoint=checkpoint,
            checkpoint_seconds=checkpoint_seconds,
            on_epoch=on_epoch,
        )


@cli.command()
@settings_options(ProfileSettings)
@click.option("--weights", type=FILE, required=True, help="initial weights of the dense network")
@click.option("--ticket", "tickets", type=FILE, multiple=True, help="ticket.json; repeat for several")
@DATA
@OUTPUT
@click.option("--batch-size", type=click.IntRange(1), default=128, show_default=True, help="images a training step")
@machine_options
@log_option
def profile(
    settings: str,
    weights: Path,
    tickets: tuple[Path, ...],
    data: Path,
    output: Path,
    batch_size: int,
    threads: int,
    device: str,
    **options: Any,
) -> None:
    """Parameters, MACs, training memory and latency of a dense network and its tickets."""
    chosen = gather(ProfileSettings, settings, options)
    on = use_machine(threads, device)
    from layerlottery.cost.profile import profile as stage

    stage(weights, tickets, data, output, chosen, batch_size=batch_size, threads=threads, device=on)


@cli.command()
@settings_options(AggregateSettings)
@click.option("--results", type=click.Path(path_type=Path, file_okay=False), required=True, help="results folder")
@log_option
def aggregate(settings: str, results: Path, **options: Any) -> None:
    """Collect every network's results into Parquet tables."""
    from layerlottery.tables.aggregate import aggregate as stage

    for name, rows in stage(results, gather(AggregateSettings, settings, options)).items():
        logging.getLogger("layerlottery").info("%s: %d rows", name, rows)


@cli.command()
@settings_options(TabulateSettings)
@TABLES
@log_option
def tabulate(settings: str, tables: Path, **options: Any) -> None:
    """Write the paper's tables and figure beside what was measured: Parquet, Markdown and LaTeX."""
    from layerlottery.paper.tabulate import tabulate as stage

    stage(tables, gather(TabulateSettings, settings, options))


@cli.command()
@click.option("--settings", required=True, metavar="JSON", help="the whole configuration as JSON")
@TABLES
@OUTPUT
@log_option
def manifest(settings: str, tables: Path, output: Path) -> None:
    """Write what the tables were made with: configuration, code, machines, jobs, hashes."""
    from layerlottery.tables.manifest import manifest as stage

    stage(tables, output, gather(Benchmark, settings, {}))


@cli.command()
@settings_options(ReportSettings)
@TABLES
@OUTPUT
@log_option
def report(settings: str, tables: Path, output: Path, **options: Any) -> None:
    """Write the self-contained HTML report."""
    from layerlottery.report.report import report as stage

    stage(tables, output, gather(ReportSettings, settings, options))


for command in (*evaluation.COMMANDS, *tools.COMMANDS):
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors are one line on stderr and in the log, and a non-zero exit status."""
    run_guarded(cli)
