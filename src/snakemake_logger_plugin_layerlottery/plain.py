"""Snakemake's own output, for those who ask for it."""

from __future__ import annotations

import logging
import sys
from typing import Any


class _Filter(logging.Filter):
    """Lets the table of jobs through at the end of a quiet dry run, which has nothing else to say."""

    def __init__(self, usual: logging.Filter) -> None:
        super().__init__()
        self._usual = usual

    def filter(self, record: logging.LogRecord) -> bool:
        return getattr(record, "event", None) == "run_info" or bool(self._usual.filter(record))


def snakemake_handler(settings: Any) -> logging.Handler:
    """The handler that Snakemake has where no plugin writes to the terminal."""
    from snakemake.logging import (
        ColorizingTextHandler,
        DefaultFilter,
        DefaultFormatter,
    )

    quiet = settings.quiet or set()
    usual = DefaultFilter(quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds)
    handler: logging.Handler = ColorizingTextHandler(
        nocolor=settings.nocolor,
        stream=sys.stdout if settings.stdout else sys.stderr,
        formatter=DefaultFormatter(quiet, settings.show_failed_logs),
        filter=_Filter(usual) if settings.dryrun else usual,
    )
    return handler
