"""The command `seeds`. Heavy imports wait until it runs."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from layerlottery.cli.configuration import CONFIG, changes, configfiles, load_configuration
from layerlottery.cli.panels import PanelCommand
from layerlottery.errors import LayerLotteryError
from layerlottery.words import terminal

if TYPE_CHECKING:
    from layerlottery.config.benchmark import Benchmark
    from layerlottery.planning.deciding import Found

SNAKEMAKE = [sys.executable, "-m", "snakemake"]


@click.command(cls=PanelCommand)
@configfiles("the benchmark")
@CONFIG
@click.option("--results", metavar="FOLDER", help="results folder, in place of the configuration's own")
@click.option("--until", type=click.Choice(["decided"]), default="decided", show_default=True, help="when to stop")
@click.option(
    "--most", type=click.IntRange(2, 1000), default=30, show_default=True, help="seeds at which to stop anyway"
)
@click.option("--batch", type=click.IntRange(1, 1000), default=3, show_default=True, help="seeds between two looks")
@click.option("--run", "going", is_flag=True, help="add them and look again, batch by batch")
@click.option("--cores", default="all", show_default=True, help="with --run: jobs at once")
def seeds(
    files: tuple[Path, ...], values: tuple[str, ...], results: str | None, most: int, batch: int, **how: str | bool
) -> None:
    """Say which further seeds would decide what a finished benchmark leaves open, and with --run run them.

    Looking again and again finds anything in the end: each look gets a part of the level (O'Brien and Fleming), which
    the configuration line that is printed tells the statistics. The same command goes on where it was stopped.
    """
    from layerlottery.planning.deciding import found, next_values
    from layerlottery.planning.deciding import values as values_of

    changed = changes(values, results)
    benchmark = load_configuration(files[0], changed)
    state = found(benchmark, Path(benchmark.results))
    if not how["going"]:
        return _say(state, most, batch)
    if most < len(state.seeds):
        raise LayerLotteryError(f"--most: found {most}; allowed: at least the {len(state.seeds)} seeds that are there")
    here, words = len(state.seeds), values_of(state.seeds, [*state.looks, len(state.seeds)], most)
    if here not in state.looks or state.most != most:
        # what is seen now is the first of several looks, and has the level of one
        state = _looked(files[0], [*changed, *words], str(how["cores"]), benchmark)
    while state.open and len(state.seeds) < most:
        words = next_values(state, min(batch, most - len(state.seeds)), most)
        state = _looked(files[0], [*changed, *words], str(how["cores"]), benchmark)
    click.echo(terminal("\n".join([*_lines(words), state.told])))
    return None


def _say(state: Found, most: int, batch: int) -> None:
    from layerlottery.planning.deciding import next_values

    click.echo(terminal(state.told))
    left = most - len(state.seeds)
    if not state.open:
        return
    if left < 1:
        click.echo(f"{most} seeds are the most (--most): it stays open")
        return
    add = min(left, max(batch, state.further or 0))
    enough = state.further is not None and state.further <= add
    why = "would probably decide" if enough else "would be a start; how many it takes is open"
    click.echo(f"{add} more {why}; add these lines to the configuration, or --run:")
    click.echo(terminal("\n".join(_lines(next_values(state, add, most)))))


def _lines(words: Sequence[str]) -> list[str]:
    return [f"  {word.replace('=', ': ', 1)}" for word in words]


def _looked(file: Path, words: Sequence[str], cores: str, benchmark: Benchmark) -> Found:
    from layerlottery.planning.deciding import found

    _snakemake(file, words, cores)
    state = found(benchmark, Path(benchmark.results))
    click.echo(terminal(state.told))
    return state


def _snakemake(file: Path, values: Sequence[str], cores: str) -> None:
    options = ["--cores", cores, "--configfile", str(file), "--config", *values]
    command = [*SNAKEMAKE, *options]
    click.echo(terminal(f"snakemake {shlex.join(options)}"), err=True)
    if done := subprocess.run(command, check=False).returncode:
        raise LayerLotteryError(f"snakemake ended with status {done}; the same command goes on when that is mended")
