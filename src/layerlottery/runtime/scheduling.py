"""Snakemake's scheduler: how often it looks for new jobs, and how it hears SIGTERM.

While its number of new jobs a second is limited, as it is unless told otherwise, Snakemake 9.27 looks again a second
after every look, for good: once n jobs have ended it does so n times a second. The 238 jobs of the default benchmark
cost it a fifth of one core that way. Without a limit it looks when a job ends.

Its handler of SIGTERM waits for a lock. Python runs handlers in the main thread, which holds that lock while it
records a job that has ended; a signal of this moment, a time limit's say, then stopped Snakemake for ever.
"""

from __future__ import annotations

import threading
from typing import Any

# Snakemake's own limit
JOBS, SECONDS = 100, 1.0


def lift_default_limit(scheduler: Any) -> None:
    """Remove the limit on new jobs where it is Snakemake's default; to be called before the first job."""
    limiter = scheduler.job_rate_limiter
    if limiter is not None and limiter.max_jobs == JOBS and limiter.timespan == SECONDS:
        scheduler.job_rate_limiter = None


def hear_sigterm() -> None:
    """Have Snakemake's handler wait beside the main thread; to be called before there is a scheduler."""
    from snakemake.scheduling.job_scheduler import JobScheduler

    answer = JobScheduler.exit_gracefully
    if answer.__module__ == __name__:
        return

    def aside(scheduler: Any, *args: Any) -> None:
        threading.Thread(target=answer, args=(scheduler, *args)).start()

    JobScheduler.exit_gracefully = aside
