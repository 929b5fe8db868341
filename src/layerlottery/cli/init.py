"""The command `init`: a folder that a benchmark runs in, for who has installed the package without its repository.

Configuration, presets and profiles are copied: they say what was run, and an upgrade must not change that. Rules are
not: they call the commands of the package that is installed and change with them, so the folder's Snakefile includes
the installed one.
"""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from pathlib import Path

import click

from layerlottery import workflow_files
from layerlottery.cli.panels import PanelCommand
from layerlottery.cli.stages import FOLDER
from layerlottery.errors import LayerLotteryError
from layerlottery.words import terminal

SNAKEFILE = """\
# layerlottery's rules are those of the installed package, so an upgrade brings its own. config.yaml and workflow/ are
# yours: an upgrade leaves them as they are. Rules of your own go below the include.
#   snakemake --cores all                                                        config.yaml
#   snakemake --cores all --configfile workflow/presets/cifar10_cpu.yaml         another benchmark
from layerlottery.workflow_files import SNAKEFILE


include: SNAKEFILE


workflow.default_target = "all"  # what an included file makes by default does not count
"""
COPIED = ("presets", "profiles", "schemas")


@click.command(cls=PanelCommand)
@click.argument("folder", type=FOLDER)
@click.option("--preset", metavar="NAME", help="a benchmark of workflow/presets, as config.yaml")
def init(folder: Path, preset: str | None) -> None:
    """Make a folder that `snakemake --cores all` runs a benchmark in."""
    if not Path(workflow_files.SNAKEFILE).is_file():
        raise LayerLotteryError(f"{workflow_files.SNAKEFILE}: not found; reinstall layerlottery")
    text = _configuration(preset)
    folder.mkdir(parents=True, exist_ok=True)
    # whole or not at all
    with tempfile.TemporaryDirectory(prefix=".init-", dir=folder) as held:
        made = Path(held)
        for name in COPIED:
            source = workflow_files.FOLDER / "workflow" / name
            # an environment's files may be read-only
            shutil.copytree(source, made / "workflow" / name, copy_function=shutil.copyfile)
        # where Snakemake looks for the profile of a plain call
        (made / "profiles").symlink_to("workflow/profiles")
        (made / "config.yaml").write_text(text, encoding="utf-8")
        (made / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
        _move(made, folder)
    # a name that begins with a dash would be an option
    place = shlex.quote(f"./{folder}" if str(folder).startswith("-") else str(folder))
    click.echo(terminal(f"{folder}: a benchmark; run it: cd {place} && snakemake --cores all"))


def _configuration(preset: str | None) -> str:
    """The text of config.yaml; raises LayerLotteryError for an unknown preset."""
    if preset is None:
        return (workflow_files.FOLDER / "config.yaml").read_text(encoding="utf-8")
    known = {path.stem: path for path in sorted(workflow_files.PRESETS.glob("*.yaml"))}
    if preset not in known:
        raise LayerLotteryError(f"--preset: found {preset!r}; allowed: {', '.join(known)}")
    # it names the preset that it extends by the place beside it
    text = known[preset].read_text(encoding="utf-8")
    return re.sub(r"^extends: *", "extends: workflow/presets/", text, flags=re.MULTILINE)


def _move(made: Path, folder: Path) -> None:
    """Move what was made into the folder; raises LayerLotteryError where one of its names is taken."""
    names = sorted(path.name for path in made.iterdir())
    if taken := [name for name in names if (folder / name).exists() or (folder / name).is_symlink()]:
        raise LayerLotteryError(f"{folder}: found {taken[0]}; allowed: a folder without {', '.join(names)}")
    for name in names:
        (made / name).rename(folder / name)
