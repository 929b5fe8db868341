"""Snakemake's scheduler: no limit on new jobs but one that was asked for, and SIGTERM never stops it for ever."""

import os
import signal
import subprocess
import sys
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


# SIGTERM comes while the main thread records jobs that have ended
STRUCK = """
import os, signal, sys
from snakemake.scheduling.job_scheduler import JobScheduler
from layerlottery.runtime.scheduling import hear_sigterm
{mend}
record = JobScheduler._finish_jobs
def struck(scheduler):
    print("struck", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    record(scheduler)
JobScheduler._finish_jobs = struck
rule all:
    shell: "true"
"""


@pytest.fixture
def struck(tmp_path):
    """Start such a Snakemake, and end whatever is left of it."""
    started = []

    def start(mend):
        (tmp_path / "Snakefile").write_text(STRUCK.format(mend=mend))
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock"]
        started.append(
            subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
        )
        return started[-1]

    yield start
    for one in started:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
        one.communicate()


@pytest.mark.parametrize("times", [1, 2], ids=["begun", "begun twice"])
def test_sigterm_is_heard_while_ended_jobs_are_recorded(struck, times):
    process = struck("hear_sigterm()\n" * times)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Will exit after finishing currently running jobs" in said


def test_without_it_such_a_signal_stops_snakemake_for_ever(struck):
    # what it is for: if this fails, Snakemake has mended it
    process = struck("")
    assert "struck\n" in iter(process.stderr.readline, "")
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(3)
