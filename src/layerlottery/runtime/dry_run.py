"""The table of jobs at the end of a quiet dry run.

`snakemake --dry-run --quiet` writes no text for each job, which takes about as long as finding the jobs, and should end
with the table of jobs; Snakemake 9.27 counts the table as progress and leaves it out as well.
"""

from __future__ import annotations

import logging
import sys


class JobTable(logging.Handler):
    """Writes Snakemake's table of jobs to stderr, and no other record."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", None) == "run_info":
            print(record.getMessage(), file=sys.stderr)


def show_job_table() -> None:
    """Let the table of jobs through, where Snakemake's own handler holds it back."""
    logging.getLogger("snakemake.logging").addHandler(JobTable())
