"""Commands for a whole results folder, beside the stages' own. Heavy imports wait until a command needs them."""

from __future__ import annotations

from pathlib import Path

import click

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("results", type=FOLDER)
@click.argument("other", type=FOLDER)
def diff(results: Path, other: Path) -> None:
    """Say where the tables of two results folders differ, times, energy and provenance aside; 1 if anywhere."""
    from layerlottery.results.reproduction import differences

    found = differences(results / "tables", other / "tables")
    for line in found:
        click.echo(line)
    if found:
        raise click.exceptions.Exit(1)
    click.echo("equal bit for bit, times, energy and provenance aside")
