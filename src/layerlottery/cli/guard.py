"""How a command fails: one line on stderr and in the log, and an exit status that a scheduler understands."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from typing import Any

import click

from layerlottery.errors import Interrupted, LayerLotteryError
from layerlottery.runtime.requeue import requeue
from layerlottery.words import terminal

# as sysexits.h: a temporary failure, try again; a scheduler's retry resumes the training
EXIT_INTERRUPTED = 75


def run_guarded(command: Callable[..., Any]) -> None:
    """Run a click command and turn every expected failure into one line and an exit status."""
    try:
        # the name that click would find is that of the worker's module
        # click turns the status of an Exit into what it returns
        status = command(standalone_mode=False, prog_name="layerlottery")
        if isinstance(status, int):
            sys.exit(status)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        # the word may be a file's name that a shell's pattern has found
        click.echo(terminal(shown.getvalue()), err=True, nl=False)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except LayerLotteryError as error:
        _fail(str(error), 1)
    except OSError as error:
        _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)
    except Interrupted:
        # on SLURM the same job resumes later, however often its time runs out; elsewhere the caller decides
        requeue()
        _fail("interrupted: the checkpoint is saved, the same command goes on from there", EXIT_INTERRUPTED)


def _fail(message: str, status: int) -> None:
    line = terminal(" ".join(message.split()))
    click.echo(f"layerlottery: {line}", err=True)
    handlers = logging.getLogger("layerlottery").handlers
    if any(isinstance(handler, logging.FileHandler) for handler in handlers):
        logging.getLogger("layerlottery").error(line)
    sys.exit(status)
