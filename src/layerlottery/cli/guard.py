"""How a command fails: one line on stderr and in the log, and an exit status that a scheduler understands."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

import click

from layerlottery.errors import Interrupted, LayerLotteryError, Suspended
from layerlottery.extras import missing
from layerlottery.runtime.requeue import requeue
from layerlottery.runtime.stop import STOP
from layerlottery.words import terminal

# as sysexits.h: a temporary failure, try again; a scheduler's retry resumes the training
EXIT_INTERRUPTED = 75
TRACEBACK = "LAYERLOTTERY_TRACEBACK"
LONGEST = 500  # characters of an error that other packages may have written


def run_guarded(command: Callable[..., Any]) -> None:
    """Run a click command and turn every failure into one line and an exit status."""
    try:
        with STOP.obeying():
            # the name that click would find is that of the worker's module
            # click turns the status of an Exit into what it returns
            status = command(standalone_mode=False, prog_name="layerlottery")
            # what can't be written is to be said here, and not by Python's own end
            if sys.stdout is not None:
                sys.stdout.flush()
        if isinstance(status, int):
            sys.exit(status)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        # the word may be a file's name that a shell's pattern has found
        click.echo(terminal(shown.getvalue()), err=True, nl=False)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Interrupted as told:
        # on SLURM the same job resumes later, however often its time runs out; elsewhere the caller decides
        requeue(resumes=isinstance(told, Suspended))
        _fail(f"interrupted: {told}", EXIT_INTERRUPTED)
    except Exception as error:
        _explain(error)


def _explain(error: Exception) -> NoReturn:
    if isinstance(error, BrokenPipeError):
        # head, say, has read enough; Python would try once more, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    if isinstance(error, LayerLotteryError):
        if error.__cause__ is not None:
            # of a function of the user's, say: where it went wrong is for the log
            _log_traceback(error.__cause__)
        _fail(str(error), 1)
    if isinstance(error, ImportError) and (line := missing(error)) is not None:
        _log_traceback(error)
        _fail(f"{' '.join(sys.argv[1:2])}: {line}", 1)
    if isinstance(error, OSError):
        _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)
    _fail(_unforeseen(error), 1)


def _unforeseen(error: Exception) -> str:
    """One line about an error that is no user's; its traceback goes into the log, where there is one."""
    log = _log_traceback(error)
    where = f"traceback: {log}" if log else f"{TRACEBACK}=1 shows where"
    said = " ".join(str(error).split())[:LONGEST]
    return f"{' '.join(sys.argv[1:2])}: {type(error).__name__}: {said}; this was not foreseen; {where}"


def _log_traceback(error: BaseException) -> str | None:
    """Write where an error came from into the log; its file, if there is one."""
    log = _log_file()
    for line in "".join(traceback.format_exception(error)).splitlines() if log else ():
        logging.getLogger("layerlottery").error("%s", line)
    return log


def _log_file() -> str | None:
    handlers = logging.getLogger("layerlottery").handlers
    return next((one.baseFilename for one in handlers if isinstance(one, logging.FileHandler)), None)


def _fail(message: str, status: int) -> NoReturn:
    if os.environ.get(TRACEBACK):
        traceback.print_exc()
    line = terminal(" ".join(message.split()))
    click.echo(f"layerlottery: {line}", err=True)
    if _log_file():
        logging.getLogger("layerlottery").error(line)
    sys.exit(status)
