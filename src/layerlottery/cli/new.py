"""The command `new`. Heavy imports wait until it runs."""

from __future__ import annotations

from pathlib import Path

import click

from layerlottery.cli.panels import PanelCommand
from layerlottery.cli.stages import FOLDER
from layerlottery.words import terminal


@click.command(cls=PanelCommand)
@click.argument("kind", type=click.Choice(["criterion", "network", "dataset", "attack"]))
@click.argument("name")
@click.option("--output", type=FOLDER, default=".", show_default=True, help="folder to write, created if missing")
def new(kind: str, name: str, output: Path) -> None:
    """Write a criterion, network, data set or attack of your own that works as it is, its test, and its benchmark.

    NAME.py holds the function, test_NAME.py its test, and NAME.yaml a benchmark of a minute with the lines that use it.
    """
    from layerlottery.stubs.write import write_stub

    code, test, benchmark = write_stub(kind, name, output)
    for path in (code, test, benchmark):
        click.echo(terminal(path))
    click.echo(terminal(f"\npytest {test}\nsnakemake --cores all --configfile {benchmark}"))
