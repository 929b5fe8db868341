"""The command `plan`. Heavy imports wait until it runs."""

from __future__ import annotations

import json
import os
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
RATES = click.option(
    "--device-rates", metavar="NAME", help="a GPU's data sheet in place of a calibration: H100, A100, …"
)


@click.command()
@CONFIGFILES
@CONFIG
@click.option("--results", metavar="FOLDER", help="results folder, in place of the configuration's own")
@CORES
@RATES
@click.option("--json", "as_json", is_flag=True, help="print the same as JSON")
def plan(
    configfiles: tuple[Path, ...],
    values: tuple[str, ...],
    results: str | None,
    cores: int | None,
    device_rates: str | None,
    as_json: bool,
) -> None:
    """Say what a benchmark will take before it runs: jobs, hours, energy, CO2, disk, and what is done already."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from layerlottery.cli.configuration import load_configuration
    from layerlottery.planning.plan import plan as work_out

    changes = [*values, *([] if results is None else [f"results={results}"])]
    if len(configfiles) > 1:
        raise LayerLotteryError("--configfile: found several; allowed is one whole benchmark")
    benchmark = load_configuration(configfiles[0], changes)
    found = work_out(benchmark, cores=cores or _cores(), device_rates=device_rates)
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=1))
        return
    from layerlottery.planning.text import plan_text

    click.echo(plan_text(found))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
