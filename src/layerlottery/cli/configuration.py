"""A benchmark for commands that Snakemake does not run: its configuration as Snakemake itself would read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from layerlottery.cli.stages import FILE, Command
from layerlottery.errors import LayerLotteryError

if TYPE_CHECKING:
    from layerlottery.config.benchmark import Benchmark

CONFIG = click.option(
    "--config", "values", multiple=True, metavar="KEY=VALUE", help="as Snakemake's; repeat for several"
)


def configfiles(text: str) -> Callable[[Command], Command]:
    """The option --configfile, which may be repeated."""
    return click.option(
        "--configfile", "files", type=FILE, multiple=True, default=["config.yaml"], show_default=True, help=text
    )


def changes(values: Sequence[str], results: str | None) -> list[str]:
    """Changes by --config and --results, as words of Snakemake's --config."""
    return [*values, *([] if results is None else [f"results={results}"])]


def load_configuration(file: Path, values: Sequence[str], *more: Path) -> Benchmark:
    """A benchmark as `snakemake --configfile FILE MORE --config VALUES` reads it."""
    # Snakemake's own readers: a file read in another way could ask for other networks, and theirs would be removed
    from snakemake.cli import parse_config
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config
    from snakemake_interface_common.exceptions import WorkflowError

    from layerlottery.config.loading import load_benchmark
    from layerlottery.config.reading import read_yaml

    read_yaml(file)
    try:
        config: dict[str, Any] = load_configfile(file)
        for other in more:
            update_config(config, load_configfile(other))
        update_config(config, parse_config(values))
    except (WorkflowError, ValueError) as error:
        raise LayerLotteryError(f"{file}: {error}") from None
    return load_benchmark(config, file, *more)


def configuration_of(results: Path) -> Benchmark:
    """The benchmark that a results folder is of: as Snakemake last read it there, or as its manifest has it.

    Files are looked for where the command runs. Raises LayerLotteryError when the folder is of none of these.
    """
    from layerlottery.config.loading import load_benchmark
    from layerlottery.store.artifacts import read_facts
    from layerlottery.store.lock import options_of

    words = options_of(results)
    files = _values(words, "--configfile", "--configfiles") or ["config.yaml"]
    if all(Path(file).is_file() for file in files):
        found = load_configuration(Path(files[0]), _values(words, "--config", "-C"), *map(Path, files[1:]))
        if Path(found.results).resolve() == results.resolve():
            return found
    if (manifest := results / "manifest.json").exists():
        return load_benchmark(read_facts(manifest)["configuration"] | {"results": str(results.resolve())})
    named = ", ".join(files)
    raise LayerLotteryError(f"{results}: {named} here is not of this folder; name its own: --configfile FILE")


def _values(words: Sequence[str], *options: str) -> list[str]:
    """What follows these options among the words of a command."""
    found, wanted = list[str](), False
    for word in words:
        option, equals, value = word.partition("=")
        if word.startswith("-"):
            wanted = option in options
            found += [value] if wanted and equals else []
        elif wanted:
            found.append(word)
    return found
