"""The command `export`. Heavy imports wait until it runs."""

from __future__ import annotations

from pathlib import Path

import click

from layerlottery.cli.panels import PanelCommand
from layerlottery.words import terminal


@click.command(cls=PanelCommand)
@click.argument("result", type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="folder to write, created if missing",
)
@click.option(
    "--format",
    "formats",
    default="weights,program,onnx,card",
    show_default=True,
    metavar="NAMES",
    help="weights (safetensors), program (torch.export), onnx, card (Markdown)",
)
def export(result: Path, output: Path, formats: str) -> None:
    """Write a trained network in forms that need no layerlottery: RESULT is its folder, or a file in it."""
    from layerlottery.export.result import export_result

    names = [name.strip() for name in formats.split(",") if name.strip()]
    for path in export_result(result, output, names):
        click.echo(terminal(path))
