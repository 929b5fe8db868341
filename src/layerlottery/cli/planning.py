"""The command `plan`. Heavy imports wait until it runs."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from layerlottery.cli.stages import FILE
from layerlottery.errors import LayerLotteryError

CONFIGFILES = click.option(
    "--configfile",
    "configfiles",
    type=FILE,
    multiple=True,
    default=["config.yaml"],
    show_default=True,
    help="the benchmark",
)
CONFIG = click.option(
    "--config", "values", multiple=True, metavar="KEY=VALUE", help="as Snakemake's; repeat for several"
)
CORES = click.option("--cores", type=click.IntRange(1), help="jobs at once  [default: all cores]")


@click.command()
@CONFIGFILES
@CONFIG
@click.option("--results", metavar="FOLDER", help="results folder, in place of the configuration's own")
@CORES
@click.option("--json", "as_json", is_flag=True, help="print the same as JSON")
def plan(
    configfiles: tuple[Path, ...], values: tuple[str, ...], results: str | None, cores: int | None, as_json: bool
) -> None:
    """Estimate what is left of a benchmark before it runs: jobs, time, energy, CO2 and disk."""
    # read when torch is imported
    os.environ["OMP_NUM_THREADS"] = "1"
    from layerlottery.cli.configuration import load_configuration
    from layerlottery.planning.jobs import jobs_of
    from layerlottery.planning.plan import plan as work_out

    changes = [*values, *([] if results is None else [f"results={results}"])]
    if len(configfiles) > 1:
        raise LayerLotteryError("--configfile: found several; allowed is one whole benchmark")
    benchmark = load_configuration(configfiles[0], changes)
    click.echo("asking Snakemake which jobs are left", err=True)
    found = work_out(benchmark, jobs_of(configfiles[0], changes, benchmark.results), cores=cores or _cores())
    click.echo(json.dumps(asdict(found), indent=1) if as_json else "\n".join(found.lines()))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
