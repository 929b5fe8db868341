"""Building blocks of stage commands: options for every setting, a log, a device; all from the stage table.

A stage's command gets its settings checked and its device ready. The other options bear the names of the arguments
of the stage's own function, which is imported when the command runs, as are the settings' models.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, get_args

import rich_click as click
from click.core import ParameterSource

from layerlottery.cli.options import log_option
from layerlottery.cli.panels import COMMON, PanelCommand
from layerlottery.config.choices import GPUS, MOST_GPUS
from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.lease import DEVICE
from layerlottery.runtime.machine import use_devices, use_machine

Given = TypeVar("Given", Path, Path | None)
Command = TypeVar("Command", bound=Callable[..., Any])


class File(click.Path):
    """A file's path; a folder is refused in one line, as everything else that is no file."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path: Any = super().convert(value, param, ctx)
        if path.is_dir():
            raise LayerLotteryError(f"{path}: found a folder; allowed: a regular file")
        return path


class _WholeNumber(click.ParamType[int]):
    """A number from `least` to the largest that tables can hold, limits that help texts need not spell out."""

    name = "integer"

    def __init__(self, least: int) -> None:
        self.limits = click.IntRange(least, 2**63 - 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return self.limits.convert(value, param, ctx)


class _Gpus(click.ParamType[int]):
    """As many GPUs as a training can have, from the option or the environment; anything else is refused in one line."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        if text.isdecimal() and 1 <= int(text) <= MOST_GPUS:
            return int(text)
        told = ctx is not None and ctx.get_parameter_source("gpus") is ParameterSource.ENVIRONMENT
        raise LayerLotteryError(f"{GPUS if told else '--gpus'}: found {text}; allowed: 1 to {MOST_GPUS}")


FILE = File(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)
RESULTS = click.option("--results", type=FOLDER, default="results", show_default=True, help="results folder")
# tables that are written together: where one is, the others are missing if they are not there
TOGETHER = ("runs.parquet", "summary.parquet")


def folder_given(folder: Path | None, results: Given) -> Path | Given:
    """The results folder of a command that takes it as FOLDER or by --results; raises LayerLotteryError for both."""
    context = click.get_current_context(silent=True)
    source = context.get_parameter_source("results") if context else None
    if folder is not None and source is ParameterSource.COMMANDLINE:
        raise LayerLotteryError(f"--results: found {results} beside FOLDER {folder}; allowed: one of them")
    return folder or results


def tables_in(results: Path) -> Path:
    """The folder of tables that a command was given, or the one in the results folder that it was given."""
    return results if any((results / name).exists() for name in TOGETHER) else results / "tables"


def required_file(name: str, text: str) -> Callable[[Command], Command]:
    """An option that names a file to read or write."""
    return click.option(name, type=FILE, required=True, help=text)


def whole_number(
    name: str, default: int, text: str, *, least: int = 0, panel: str | None = None
) -> Callable[[Command], Command]:
    """An option that takes a number from `least` on, as far as tables can hold it."""
    kind = _WholeNumber(least)
    return click.option(name, type=kind, default=default, show_default=True, panel=panel, help=text)


def output_folder(text: str) -> Callable[[Command], Command]:
    """The option --output for a stage that writes several files."""
    return click.option("--output", type=FOLDER, required=True, help=text)


WEIGHTS = required_file("--weights", "weights file (safetensors)")
DATA = required_file("--data", "facts.json of a prepared image set")
OUTPUT = required_file("--output", "file to write")
OUTPUT_FACTS = required_file("--output-facts", "JSON file to write")
SEED = whole_number("--seed", 0, "seed of the run")


def structure(of: Any) -> Callable[[Command], Command]:
    """The option --structure with these names."""
    choice, text = click.Choice(get_args(of)), "what is removed"
    return click.option("--structure", type=choice, default="layers", show_default=True, help=text)


class SettingsCommand(PanelCommand):
    """A command with an option for each of its settings, whose type `settings` gives when it runs or shows its help."""

    def __init__(self, *words: Any, settings: Callable[[], Any], **given: Any) -> None:
        super().__init__(*words, **given)
        self._settings: Callable[[], Any] | None = settings

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its options, those of the settings first."""
        of, self._settings = self._settings and self._settings(), None
        if of is not None:
            from layerlottery.cli.settings import settings_options

            self.params[:0] = settings_options(of)
        return super().get_params(ctx)


def with_settings(of: Callable[[], Any], name: str | None = None) -> Callable[[Command], click.Command]:
    """A command with --settings (JSON) and an option for each field; it gets the checked `settings` of the type `of()`.

    No type, no such options.
    """

    def decorate(command: Command) -> click.Command:
        @wraps(command)
        def run(**given: Any) -> Any:
            if (kind := of()) is None:
                return command(**given)
            from layerlottery.cli.settings import fields_of, gathered

            text = given.pop("settings")
            fields = {field: given.pop(field) for field in fields_of(kind) if field in given}
            return command(settings=gathered(kind, text, fields), **given)

        return click.command(name, cls=SettingsCommand, settings=of)(run)

    return decorate


def stage(name: str, *options: Callable[[Any], Any]) -> Callable[[Command], click.Command]:
    """A command named after a stage, with options for its settings and for its log, and these."""

    def settings() -> Any:
        from layerlottery.config.stages import STAGES

        return STAGES[name].settings

    def decorate(command: Command) -> click.Command:
        for option in reversed(options):
            command = option(command)
        return with_settings(settings, name)(log_option(command))

    return decorate


def on_machine(command: Command) -> Command:
    """Add --threads and --device; the command gets a torch `device`, leased if it is a GPU."""

    @wraps(command)
    def run(threads: int, device: str, **given: Any) -> Any:
        return command(threads=threads, device=use_machine(threads, device), **given)

    return _machine_options(run)  # type: ignore[return-value] # wraps widens it


def on_devices(command: Command) -> Command:
    """As on_machine, and --gpus; the command also gets `others`, the devices of further processes."""

    @wraps(command)
    def run(threads: int, device: str, gpus: int, **given: Any) -> Any:
        first, *others = use_devices(threads, device, gpus)
        return command(threads=threads, device=first, others=others, **given)

    return click.option(  # type: ignore[return-value] # click's stubs widen it
        "--gpus",
        envvar=GPUS,
        show_envvar=True,
        type=_Gpus(),
        default=1,
        show_default=True,
        panel=COMMON,
        help="GPUs that share each batch; with --device cpu so many processes",
    )(_machine_options(run))


def _machine_options(run: Callable[..., Any]) -> Callable[..., Any]:
    text = (
        "auto waits for a free GPU, or takes the CPU where there is none; cuda insists on a GPU; cuda:N is shared"
        " with whatever runs there; LAYERLOTTERY_JOBS_PER_GPU (1) processes share a GPU otherwise"
    )
    with_device = click.option(
        "--device",
        envvar=DEVICE,
        show_envvar=True,
        default="auto",
        show_default=True,
        metavar="auto|cpu|cuda|cuda:N",
        panel=COMMON,
        help=text,
    )(run)
    return whole_number("--threads", 1, "CPU threads", least=1, panel=COMMON)(with_device)
