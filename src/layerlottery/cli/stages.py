"""Building blocks of stage commands: options for every setting, a log, a device; all from the stage table.

A stage's command gets its settings checked and its device ready. The other options bear the names of the arguments
of the stage's own function, which is imported when the command runs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
from pydantic import TypeAdapter

from layerlottery.cli.options import gather, log_option, settings_options, union_fields
from layerlottery.config.base import Settings
from layerlottery.config.criteria import Structure
from layerlottery.config.stages import STAGES
from layerlottery.runtime.lease import DEVICE
from layerlottery.runtime.machine import use_machine

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)

WEIGHTS = click.option("--weights", type=FILE, required=True, help="weights file (safetensors)")
DATA = click.option("--data", type=FILE, required=True, help="facts.json of a prepared image set")
OUTPUT = click.option("--output", type=FILE, required=True, help="file to write")
OUTPUT_FACTS = click.option("--output-facts", type=FILE, required=True, help="JSON file to write")
SEED = click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="seed of the run")
STRUCTURE = click.option(
    "--structure",
    type=click.Choice(get_args(Structure)),
    default="layers",
    show_default=True,
    help="what is removed",
)


def output_folder(text: str) -> Callable[[Command], Command]:
    """The option --output for a stage that writes several files."""
    return click.option("--output", type=FOLDER, required=True, help=text)


def with_settings(of: Any) -> Callable[[Command], Command]:
    """Add --settings (JSON) and an option for each field; the command gets the checked `settings` of this type."""
    one = isinstance(of, type) and issubclass(of, Settings)
    models = [of] if one else union_fields(of)
    names = {name for model in models for name in model.model_fields}

    def decorate(command: Command) -> Command:
        @wraps(command)
        def run(settings: str, **given: Any) -> Any:
            fields = {name: given.pop(name) for name in names & given.keys()}
            return command(settings=gather(of if one else TypeAdapter(of), settings, fields), **given)

        return settings_options(*models)(run)  # type: ignore[return-value]

    return decorate


def stage(name: str) -> Callable[[Command], click.Command]:
    """A command named after a stage, with options for its settings and for its log."""

    def decorate(command: Command) -> click.Command:
        settings = STAGES[name].settings
        if settings is not None:
            command = with_settings(settings)(command)
        return click.command(name)(log_option(command))

    return decorate


def on_machine(command: Command) -> Command:
    """Add --threads and --device; the command gets a torch `device`, leased if it is a GPU."""

    @wraps(command)
    def run(threads: int, device: str, **given: Any) -> Any:
        return command(threads=threads, device=use_machine(threads, device), **given)

    text = (
        "auto waits for a free GPU, or takes the CPU where there is none; cuda insists on a GPU; cuda:N is shared"
        " with whatever runs there; LAYERLOTTERY_JOBS_PER_GPU (1) processes share a GPU otherwise"
    )
    options = [
        click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="CPU threads"),
        click.option(
            "--device",
            envvar=DEVICE,
            show_envvar=True,
            default="auto",
            show_default=True,
            metavar="auto|cpu|cuda|cuda:N",
            help=text,
        ),
    ]
    return options[0](options[1](run))  # type: ignore[return-value]
