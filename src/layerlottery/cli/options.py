"""Command-line options made from settings models, so that help, defaults and units have one source."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import rich_click as click
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from layerlottery.cli.panels import COMMON, SETTINGS
from layerlottery.config.base import Settings, read_options
from layerlottery.config.loading import first_line
from layerlottery.errors import LayerLotteryError
from layerlottery.words import one_line, terminal

Command = TypeVar("Command", bound=Callable[..., Any])
KINDS = {"object": "JSON", "boolean": "true|false"}
Model = TypeVar("Model", bound=Settings)


def settings_options(*models: type[Settings]) -> Callable[[Command], Command]:
    """Add --settings (JSON) and one option for each field of the models; options win over --settings."""
    fields = {name: field for model in models for name, field in model.model_fields.items()}

    def decorate(command: Command) -> Command:
        for name, field in reversed(fields.items()):
            kinds = [_metavar(model.model_fields[name]) for model in models if name in model.model_fields]
            command = _option(name, field, "|".join(dict.fromkeys(kinds)))(command)
        text = "settings as JSON; the options below replace single values"
        return click.option("--settings", default="{}", metavar="JSON", panel=SETTINGS, help=text)(command)

    return decorate


def _option(name: str, field: FieldInfo, metavar: str) -> Callable[[Command], Command]:
    many = get_origin(field.annotation) is list
    default = "" if field.default is PydanticUndefined else f"  [default: {_shown(field.default)}]"
    repeat = "; repeat for several" if many else ""
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        multiple=many,
        metavar=metavar,
        panel=SETTINGS,
        help=f"{field.description or 'kind of these settings'}{repeat}{default}",
    )


def _shown(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, Settings):
        return value.slice()
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _metavar(field: FieldInfo) -> str:
    annotation: Any = field.annotation
    whole: Any = Annotated[(annotation, *field.metadata)] if field.metadata else annotation
    schema = TypeAdapter(whole).json_schema()
    schema = schema.get("items", schema)
    return "|".join(dict.fromkeys(word for part in schema.get("anyOf", [schema]) for word in _allowed(part)))


def _allowed(schema: Mapping[str, Any]) -> list[str]:
    choices = schema.get("enum") or ([schema["const"]] if "const" in schema else None)
    if choices:
        return list(map(str, choices))
    kind = str(schema.get("type", "value"))
    return [KINDS.get(kind, kind.upper())]


def gather(
    adapter: type[Model] | TypeAdapter[Model], settings: str, options: Mapping[str, Any], *, key: str = "settings"
) -> Model:
    """Settings from JSON text with the given options laid over it; raises one line about the first bad value.

    `key` is the name of the option that the text was given with.
    """
    try:
        values = json.loads(settings)
    except (ValueError, RecursionError) as error:
        raise LayerLotteryError(f"--{key}: not JSON ({error}); found {settings[:60]!r}") from None
    if not isinstance(values, dict):
        raise LayerLotteryError(f"--{key}: found {settings[:60]!r}; allowed: a JSON object")
    for name, given in options.items():
        if given not in (None, ()):
            values[name] = _read(given) if isinstance(given, str) else [_read(one) for one in given]
    validator = adapter if isinstance(adapter, TypeAdapter) else TypeAdapter(adapter)
    try:
        return validator.validate_python(values)
    except ValidationError as error:
        raise LayerLotteryError(f"{key}: {first_line(error)}") from None


def _read(text: str) -> Any:
    """Objects and lists are JSON; numbers, true, false and null are read by the models, which know what is text."""
    return read_options(text) if text[:1] in ("{", "[") else text


def log_option(command: Command) -> Command:
    """Add --log; the file is opened before the command runs."""
    text = "write plain progress lines to this file instead of the terminal"
    return click.option(
        "--log",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=_open_log,
        expose_value=False,
        is_eager=True,
        panel=COMMON,
        help=text,
    )(command)


def _open_log(context: click.Context, option: click.Parameter, path: Path | None) -> None:
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if path is not None:
        # in a results folder from somebody else a log may be a link to any file; /dev/stderr is one by nature
        if path.is_symlink() and not path.absolute().is_relative_to("/dev"):
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = _LogFile(path, mode="w", encoding="utf-8", errors="backslashreplace")
    package = logging.getLogger("layerlottery")
    package.handlers = [handler]
    package.setLevel(logging.INFO)
    handler.setFormatter(_Lines("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))


def logs_to_terminal() -> bool:
    """Whether progress is told on the terminal: no --log was given."""
    return not any(isinstance(one, logging.FileHandler) for one in logging.getLogger("layerlottery").handlers)


class _Lines(logging.Formatter):
    """A record is one line, whatever names are in it; warnings and errors are marked."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname} {record.message}"
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return terminal(one_line(super().format(record)))


class _LogFile(logging.FileHandler):
    """A log that says once, in one line, that it can't be written; the command goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Called within the failed write."""
        error = sys.exc_info()[1]
        reason = error.strerror if isinstance(error, OSError) else repr(error)
        click.echo(terminal(f"layerlottery: {self.baseFilename}: {reason}; this log is not complete"), err=True)
        self.setLevel(logging.CRITICAL + 1)


def union_fields(union: Any) -> list[type[Settings]]:
    """The models of an annotated union."""
    members = get_args(get_args(union)[0])
    return [get_args(member)[0] if get_origin(member) is Annotated else member for member in members]
