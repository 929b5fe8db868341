"""Snakemake's limit on new jobs: taken away when it is the default one, kept when somebody asked for it."""

from types import SimpleNamespace

import pytest
from snakemake.cli import get_argument_parser
from snakemake.scheduling.job_scheduler import JobRateLimiter
from snakemake.settings.types import MaxJobsPerTimespan

from layerlottery.runtime.scheduling import lift_default_limit


def limited(limit):
    return SimpleNamespace(job_rate_limiter=JobRateLimiter(limit))


def test_the_default_limit_of_this_snakemake_is_taken_away():
    scheduler = limited(get_argument_parser().parse_args([]).max_jobs_per_timespan)
    lift_default_limit(scheduler)
    assert scheduler.job_rate_limiter is None


@pytest.mark.parametrize("asked", ["50/1s", "100/1m", "101/1s"])
def test_a_limit_that_was_asked_for_stays(asked):
    scheduler = limited(MaxJobsPerTimespan.parse_choice(asked))
    before = scheduler.job_rate_limiter
    lift_default_limit(scheduler)
    assert scheduler.job_rate_limiter is before


def test_no_limit_is_no_error():
    scheduler = SimpleNamespace(job_rate_limiter=None)
    lift_default_limit(scheduler)
    assert scheduler.job_rate_limiter is None
