"""The command `plan`. Heavy imports wait until it runs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from layerlottery.cli.configuration import CONFIG, changes, configfiles, load_configuration
from layerlottery.cli.panels import PanelCommand
from layerlottery.errors import LayerLotteryError
from layerlottery.words import terminal


@click.command(cls=PanelCommand)
@configfiles("the benchmark")
@CONFIG
@click.option("--results", metavar="FOLDER", help="results folder, in place of the configuration's own")
@click.option("--cores", type=click.IntRange(1), help="jobs at once  [default: all cores]")
@click.option("--json", "as_json", is_flag=True, help="print the same as JSON")
def plan(
    files: tuple[Path, ...], values: tuple[str, ...], results: str | None, cores: int | None, as_json: bool
) -> None:
    """Estimate what is left of a benchmark before it runs: jobs, time, energy, CO2 and disk."""
    # read when torch is imported
    os.environ["OMP_NUM_THREADS"] = "1"
    from layerlottery.config.limits import check_limits
    from layerlottery.planning.jobs import jobs_of
    from layerlottery.planning.plan import plan as work_out

    if not any(Path(folder, "Snakefile").exists() for folder in (".", "workflow")):
        raise LayerLotteryError(
            f"{Path.cwd()}: no Snakefile here; run plan in a clone, or in a folder of layerlottery init"
        )
    changed = changes(values, results)
    if len(files) > 1:
        raise LayerLotteryError("--configfile: found several; allowed: one whole benchmark")
    benchmark = load_configuration(files[0], changed)
    check_limits(benchmark)
    click.echo("asking Snakemake which jobs are left", err=True)
    found = work_out(benchmark, jobs_of(files[0], changed, benchmark.results), cores=cores or _cores())
    click.echo(json.dumps(asdict(found), indent=1) if as_json else terminal("\n".join(found.lines())))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
