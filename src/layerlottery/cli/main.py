"""The command line: a command for each stage and more. Heavy imports wait until a command needs them."""

from __future__ import annotations

import click

from layerlottery.cli import evaluation, pipeline, reference, results, upkeep
from layerlottery.cli.export import export
from layerlottery.cli.guard import run_guarded
from layerlottery.cli.networks import networks
from layerlottery.cli.planning import plan
from layerlottery.cli.seeds import seeds
from layerlottery.cli.surroundings import only_warn, print_anywhere
from layerlottery.version import __version__


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__)
def cli() -> None:
    """Layer pruning at initialization, stage by stage. Snakemake calls the same commands."""


for family in (pipeline, evaluation, results, upkeep, reference):
    for command in family.COMMANDS:
        cli.add_command(command)
for command in (plan, seeds, export, networks):
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors are one line on stderr and in the log, and a non-zero exit status."""
    print_anywhere()
    only_warn()
    run_guarded(cli)
