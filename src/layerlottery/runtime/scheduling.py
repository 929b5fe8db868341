"""How often Snakemake looks for new jobs.

While its number of new jobs a second is limited, as it is unless told otherwise, Snakemake 9.27 looks again a second
after every look, for good: once n jobs have ended it does so n times a second. The 238 jobs of the default benchmark
cost it a fifth of one core that way. Without a limit it looks when a job ends.
"""

from __future__ import annotations

from typing import Any

# Snakemake's own limit
JOBS, SECONDS = 100, 1.0


def lift_default_limit(scheduler: Any) -> None:
    """Remove the limit on new jobs where it is Snakemake's default; to be called before the first job."""
    limiter = scheduler.job_rate_limiter
    if limiter is not None and limiter.max_jobs == JOBS and limiter.timespan == SECONDS:
        scheduler.job_rate_limiter = None
