"""The command that prints a table for a publication."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from layerlottery.cli.panels import PanelCommand
from layerlottery.cli.stages import RESULTS, TOGETHER, tables_in
from layerlottery.errors import LayerLotteryError

KEYS = ("criterion", "removed", "network", "dataset", "structure", "scored_at", "rewind", "step", "control")
VALUES = (
    *("accuracy", "delta", "difference", "macs", "params", "memory", "energy"),
    *("train_speedup", "total_speedup", "latency_speedup"),
)
SIDE = click.Choice(KEYS)
OF = "the ticket's: accuracy, delta to the dense network, difference to a control, savings, speed-ups"
BOLD = "best of each column; holm: and all that are not shown to be lower, after Holm's correction"
WHERE = "only these values of a key, such as structure=layers or criterion=snip,l1; may be given for several keys"


@click.command(cls=PanelCommand)
@click.option("--rows", type=SIDE, default="criterion", show_default=True, help="key that has a row for each value")
@click.option("--columns", type=SIDE, default="removed", show_default=True, help="key that has a column for each value")
@click.option("--value", type=click.Choice(VALUES), default="accuracy", show_default=True, help=OF)
@click.option("--bold", type=click.Choice(("none", "best", "holm")), default="none", show_default=True, help=BOLD)
@click.option(
    "--spread",
    type=click.Choice(("sd", "interval")),
    default="sd",
    show_default=True,
    help="beside each mean: standard deviation over seeds, or interval",
)
@click.option("--where", multiple=True, metavar="KEY=VALUE[,VALUE]", help=WHERE)
@click.option(
    "--format",
    "form",
    type=click.Choice(("markdown", "latex", "csv")),
    default="markdown",
    show_default=True,
    help="latex needs booktabs; csv has a row for each cell",
)
@RESULTS
def table(results: Path, where: tuple[str, ...], form: str, **asked: Any) -> None:
    """Print a table of tickets for a publication, with its caption.

    A cell is the mean over seeds of one ticket. Where several would share a cell, a line names what tells them apart,
    and --where picks one. The caption says what is bold, and what every ticket of the table has in common.
    """
    from layerlottery.report.publication import Asked, publication
    from layerlottery.report.typeset import FORMATS

    tables = tables_in(results)
    if not any((tables / name).exists() for name in TOGETHER):
        raise LayerLotteryError(f"{results}: no tables here; allowed: a results folder, or its tables/")
    made = publication(tables, Asked(where=_where(where), **asked))
    click.echo(FORMATS[form](made), nl=False)
    if form == "csv":
        click.echo(made.caption, err=True)


def _where(given: tuple[str, ...]) -> dict[str, list[str]]:
    """The values of each key; raises LayerLotteryError for what is no key with values."""
    found: dict[str, list[str]] = {}
    for text in given:
        key, sign, values = text.partition("=")
        if not sign or not values:
            raise LayerLotteryError(f"--where: found {text!r}; allowed: KEY=VALUE, such as structure=layers")
        if key not in KEYS:
            raise LayerLotteryError(f"--where: found key {key!r}; allowed: {', '.join(KEYS)}")
        found.setdefault(key, []).extend(values.split(","))
    return found
