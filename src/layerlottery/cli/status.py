"""The command `status`, whose words `summary` says too as long as there are no tables. Heavy imports wait."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from layerlottery.cli.configuration import CONFIG, changes, configuration_of, load_configuration
from layerlottery.cli.panels import PanelCommand
from layerlottery.cli.stages import FILE, FOLDER, RESULTS, folder_given
from layerlottery.errors import LayerLotteryError
from layerlottery.words import counted, duration, terminal

if TYPE_CHECKING:
    from layerlottery.config.benchmark import Benchmark
    from layerlottery.upkeep.status import Status


@click.command(cls=PanelCommand)
@click.argument("folder", type=FOLDER, required=False)
@RESULTS
@click.option("--configfile", "file", type=FILE, help="the benchmark, where the folder does not say of which it is")
@CONFIG
def status(folder: Path | None, results: Path, file: Path | None, values: Sequence[str]) -> None:
    """Say how far a benchmark is, running or stopped: what is done, running, failed and left, and why jobs failed.

    FOLDER may be given in place of --results. Run it where you run snakemake.
    """
    from layerlottery.upkeep.status import require_folder

    results = folder_given(folder, results)
    require_folder(results)
    benchmark = load_configuration(file or Path("config.yaml"), values) if file or values else None
    for line in progress(results, benchmark, _options(results, benchmark, file, values)):
        click.echo(terminal(line))


def _options(results: Path, benchmark: Benchmark | None, file: Path | None, values: Sequence[str]) -> list[str]:
    """The options of Snakemake that say the same as those that were given."""
    if benchmark is None:
        return []
    elsewhere = Path(benchmark.results).resolve() != results.resolve()
    changed = changes(values, str(results) if elsewhere else None)
    return [*(["--configfile", str(file)] if file else []), *(["--config", *changed] if changed else [])]


def progress(results: Path, benchmark: Benchmark | None = None, given: Sequence[str] = ()) -> Iterator[str]:
    """Lines on how far the benchmark in a results folder is, and the command that goes on, with options as `given`.

    Raises LayerLotteryError where they are in a storage.
    """
    from layerlottery.upkeep.status import command, lost, named_jobs, sentence, table, whole_seeds
    from layerlottery.upkeep.status import status as find

    _require_here(results)
    benchmark = benchmark or configuration_of(results)
    found = find(results, benchmark)
    yield from table(found)
    yield f"\n{sentence(found)}"
    if found.finished:
        return
    yield from whole_seeds(found)
    yield from _time_left(benchmark, found)
    yield from named_jobs(found)
    if not found.running:
        yield f"\nto go on: {command(results, given)}"
        if lost(found):
            folder = shlex.quote(str(results))
            yield f"to get back files that were lost afterwards: layerlottery verify --remove {folder}"


def _require_here(results: Path) -> None:
    """Raise LayerLotteryError where the last run kept its files in a storage, and nobody has copied them here."""
    from layerlottery.runtime.profiles import storage_of
    from layerlottery.store.lock import options_of

    options = options_of(results)
    storage = None if any(results.glob("datasets/*/*")) else storage_of(options)
    if storage is not None:
        left = shlex.join(["snakemake", "--dry-run", *options])
        raise LayerLotteryError(
            f"{results}: the files of its last run are in the storage {storage}; copy them here first, or see: {left}"
        )


def _time_left(benchmark: Benchmark, found: Status) -> Iterator[str]:
    """What the jobs that are left take, as far as finished ones tell."""
    from layerlottery.planning.finished import estimate, jobs_of

    left = [job for job in found.jobs if job.state != "done"]
    files = [(job.rule, [f"{benchmark.results}/{file}" for file in job.files]) for job in left]
    cores = found.cores or os.cpu_count() or 1
    try:
        timed = estimate(benchmark, jobs_of(files, benchmark.results), cores=cores)
    except LayerLotteryError:  # of image sets that are not here
        return
    if timed.jobs:
        whole = "what is left takes" if timed.jobs == len(left) else f"{timed.jobs} of the {len(left)} jobs left take"
        yield f"{whole} about {duration(timed.seconds)} with {counted(cores, 'core', 'cores')}, by finished jobs"
    if timed.jobs < len(left):
        yield "finished jobs do not tell all: layerlottery plan measures this machine and estimates"
