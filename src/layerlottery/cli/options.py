"""The option --log, which every stage has."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from layerlottery.cli.panels import COMMON
from layerlottery.words import one_line, terminal

Command = TypeVar("Command", bound=Callable[..., Any])


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
