"""Commands that look after a results folder: show, verify, diff, stale, curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from layerlottery.cli.completion import complete
from layerlottery.cli.configuration import CONFIG, changes, configfiles, load_configuration
from layerlottery.cli.panels import PanelCommand
from layerlottery.cli.stages import FOLDER, RESULTS, folder_given, with_settings
from layerlottery.errors import LayerLotteryError
from layerlottery.words import terminal

if TYPE_CHECKING:
    from layerlottery.config.live import LoggingSettings


@click.command(cls=PanelCommand)
@click.argument("results", type=FOLDER)
@click.argument("other", type=FOLDER)
def diff(results: Path, other: Path) -> None:
    """Say where the tables of two results folders differ, times and provenance aside. Exits with 1 if they do."""
    from layerlottery.upkeep.diff import differences

    found = differences(results / "tables", other / "tables")
    for line in found:
        click.echo(terminal(line))
    if found:
        raise click.exceptions.Exit(1)
    click.echo("equal bit for bit, times, energy and provenance aside")


@click.command(cls=PanelCommand)
@click.argument("words", nargs=-1, required=True, metavar="NETWORK", shell_complete=complete)
@RESULTS
@click.option("--json", "as_json", is_flag=True, help="print the same as JSON")
def show(words: tuple[str, ...], results: Path, as_json: bool) -> None:
    """Show all that is known of one network. Exits with 1 if a file of it is damaged.

    NETWORK is a folder, a file in it, or words that tell the network from others: snip removed=2 seed=0, dense seed=1.
    Words are dense, fresh, names of criteria, networks, data sets and structures, and KEY=VALUE as in folders' names.
    """
    from layerlottery.upkeep.show import describe, is_damaged

    description = describe(_folder(words, results))
    if as_json:
        click.echo(json.dumps(description, indent=1))
    else:
        from layerlottery.report.network import network_text

        click.echo(network_text(description))
    if is_damaged(description):
        sys.exit(1)


def _folder(words: Sequence[str], results: Path) -> Path:
    """What was typed, if it is a path; otherwise the folder of the network that the words describe."""
    if len(words) == 1 and ("/" in words[0] or Path(words[0]).exists()):
        if Path(words[0], "networks").is_dir():
            found = f"{words[0]}: found a results folder"
            raise LayerLotteryError(f"{found}; allowed: a network's folder, or words: show dense --results {words[0]}")
        return Path(words[0])
    from layerlottery.upkeep.finding import find_run

    run, others = find_run(results, words)
    if others:
        click.echo(terminal(f"the plainest of several that fit; the others differ in {others}"), err=True)
    return results / run.folder


@click.command(cls=PanelCommand)
@click.argument("folder", type=FOLDER, required=False)
@RESULTS
@click.option("--remove", is_flag=True, help="delete damaged files, and print the command that recreates them")
def verify(folder: Path | None, results: Path, remove: bool) -> None:
    """Check the hash, the place and the inputs of every file of a results folder. Exits with 1 unless all are good.

    FOLDER may be given in place of --results; of a folder that holds several results folders each is checked.
    """
    from layerlottery.upkeep import verify as files

    folders = files.results_folders(folder_given(folder, results))
    good = [_verified(one, remove=remove, named=len(folders) > 1) for one in folders]
    if not all(good):
        sys.exit(1)


def _verified(results: Path, *, remove: bool, named: bool) -> bool:
    """Whether all files of a results folder are good, and in words what was found; `named` with the folder's name."""
    from layerlottery.upkeep import verify as files

    if remove:
        files.require_unused(results)
    found = files.verify(results)
    *lines, total = files.described(found)
    for line in (*lines, f"{results}: {total}" if named else total):
        click.echo(terminal(line))
    if remove and (command := files.remove(results, found)):
        click.echo(terminal(f"removed; to recreate them:\n{command}"))
    return found.good


@click.command(cls=PanelCommand)
@configfiles("a benchmark whose files stay; repeat for several benchmarks (Snakemake would merge them into one)")
@CONFIG
@click.option("--results", metavar="FOLDER", help="results folder, in place of the configurations' own")
@click.option("--remove", is_flag=True, help="delete them; without it they are only listed")
def stale(files: Sequence[Path], values: Sequence[str], results: str | None, remove: bool) -> None:
    """List results that no configuration asks for any more, or remove them; files of other programs stay."""
    from layerlottery.upkeep.stale import sweep

    changed = changes(values, results)
    for line in sweep([load_configuration(file, changed) for file in files], delete=remove):
        click.echo(terminal(line))


def _logging_settings() -> Any:
    from layerlottery.config.live import LoggingSettings

    return LoggingSettings


@with_settings(_logging_settings)
@click.option("--results", type=FOLDER, default="results", show_default=True)
def curves(settings: LoggingSettings, results: Path) -> None:
    """Tell trackers of the learning curves of finished trainings, as `logging` does while they train."""
    from layerlottery.upkeep.curves import tell

    for line in tell(results, settings):
        click.echo(terminal(line))


@click.command(hidden=True, context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def clean(words: tuple[str, ...]) -> None:
    """The old name of `stale`."""
    raise LayerLotteryError("clean --stale: now called stale; its --yes is now stale --remove")


COMMANDS = (verify, diff, stale, curves)
