"""A benchmark for commands that Snakemake does not run: its configuration as Snakemake itself would read it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from layerlottery.cli.stages import FILE, Command
from layerlottery.config.benchmark import Benchmark
from layerlottery.config.loading import load_benchmark
from layerlottery.config.reading import read_yaml
from layerlottery.errors import LayerLotteryError

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


def load_configuration(file: Path, values: Sequence[str]) -> Benchmark:
    """A benchmark as `snakemake --configfile FILE --config VALUES` reads it."""
    # Snakemake's own readers: a file read in another way could ask for other networks, and theirs would be removed
    from snakemake.cli import parse_config  # type: ignore[import-untyped]
    from snakemake.common.configfile import load_configfile  # type: ignore[import-untyped]
    from snakemake.utils import update_config  # type: ignore[import-untyped]
    from snakemake_interface_common.exceptions import WorkflowError

    read_yaml(file)
    try:
        config: dict[str, Any] = load_configfile(file)
        update_config(config, parse_config(values))
    except (WorkflowError, ValueError) as error:
        raise LayerLotteryError(f"{file}: {error}") from None
    return load_benchmark(config, file)
