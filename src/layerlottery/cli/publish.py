"""The command `publish`. Heavy imports wait until it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from layerlottery.cli.panels import PanelCommand
from layerlottery.cli.stages import FILE, FOLDER, RESULTS, folder_given
from layerlottery.errors import LayerLotteryError
from layerlottery.words import human_size, terminal


@click.command(cls=PanelCommand)
@click.argument("folder", type=FOLDER, required=False)
@RESULTS
@click.option("--output", type=FILE, help="archive to write, .zip")
@click.option(
    "--weights",
    type=click.Choice(["none", "dense", "all"]),
    default="none",
    show_default=True,
    help="networks whose weights and cards go with the tables",
)
@click.option("--license", default="", metavar="SPDX", help="license of the results, such as CC-BY-4.0")
@click.option("--without-machines", is_flag=True, help="leave out processors, GPUs and drivers, too")
@click.option("--hub", metavar="OWNER/NAME", help="upload to this data set repository of the Hugging Face Hub")
def publish(
    folder: Path | None,
    results: Path,
    output: Path | None,
    weights: Literal["none", "dense", "all"],
    license: str,
    without_machines: bool,
    hub: str | None,
) -> None:
    """Pack a finished benchmark for others: tables, report, manifest, workflow, and an RO-Crate that describes them.

    FOLDER, the results, may be given in place of --results. Hosts and SLURM jobs are numbered, and absolute paths cut
    to their last part. The same results give the same bytes.
    """
    from layerlottery.export.archive import publish
    from layerlottery.export.published import Published

    if output is None and hub is None:
        raise LayerLotteryError("--output: missing; allowed: an archive, or --hub OWNER/NAME")
    given = Published(folder_given(folder, results), weights, not without_machines, license)
    files = publish(given, output, hub)
    if output is not None:
        click.echo(terminal(f"{output}: {len(files)} files, {human_size(output.stat().st_size)}"))
    if hub is not None:
        click.echo(terminal(f"{hub}: {len(files)} files uploaded"))
