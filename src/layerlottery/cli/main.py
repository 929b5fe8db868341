"""The command line: a command for each stage and more. Heavy imports wait until a command needs them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import click
from rich_click import RichCommandPanel, RichGroup

from layerlottery.cli import evaluation, pipeline, reference, results, upkeep
from layerlottery.cli.export import export
from layerlottery.cli.guard import run_guarded
from layerlottery.cli.init import init
from layerlottery.cli.networks import networks
from layerlottery.cli.panels import CONTEXT
from layerlottery.cli.planning import plan
from layerlottery.cli.seeds import seeds
from layerlottery.cli.status import status
from layerlottery.cli.surroundings import only_warn, print_anywhere
from layerlottery.version import __version__

# the stages, in the order of the data
STAGES = (
    *(pipeline.prepare, evaluation.corrupt, evaluation.outliers),
    *(pipeline.initialize, pipeline.score, pipeline.prune, pipeline.train, pipeline.rewind),
    *(evaluation.attack, evaluation.shift, evaluation.compare, pipeline.profile),
    *(results.aggregate, results.tabulate, results.manifest),
)
# as they are listed: the titles of groups, and their commands
GROUPS: dict[str, Sequence[click.Command]] = {
    # people ask for a report, too, as they do for a summary
    "Look at results": [results.report, results.leaderboard, results.summary, status, upkeep.show],
    "Plan a benchmark": [init, plan, seeds],
    "Your own network": [evaluation.evaluate, export, networks],
    "Stages, in the order of the data": STAGES,
    "Maintenance": [*upkeep.COMMANDS, *reference.COMMANDS],
}


@click.group(
    cls=RichGroup,
    context_settings=CONTEXT,
    panels=[RichCommandPanel(title, [str(one.name) for one in commands]) for title, commands in GROUPS.items()],
)
@click.version_option(__version__)
def cli() -> None:
    """Benchmark of layer pruning at initialization. `layerlottery COMMAND --help` explains a command's options."""


for command in (upkeep.clean, *chain.from_iterable(GROUPS.values())):
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors are one line on stderr and in the log, and a non-zero exit status."""
    print_anywhere()
    only_warn()
    run_guarded(cli)
