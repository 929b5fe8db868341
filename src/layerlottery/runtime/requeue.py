"""Requests to SLURM: queue this job again after an interruption; cancel jobs whose Snakemake has died.

A training that SLURM interrupts puts its job back into the queue, where it waits for its next turn and resumes. So it
takes as many jobs as it needs, however short the time limit, and Snakemake's retries remain for failures.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import time
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path

from layerlottery.runtime.programs import output_of

log = logging.getLogger(__name__)

# a controller that is busy or starting again may take a while; SIGTERM comes minutes before the limit
PATIENCE = 30
# from the end of a training to that of its job, seconds
LEAVING = 15
# until the last process of a cancelled job is gone: SLURM gives half a minute, unless its administrator changed that
WITHDRAWAL, POLL_SECONDS = 120, 1


def in_job() -> bool:
    """Whether this process belongs to a SLURM job."""
    return "SLURM_JOB_ID" in os.environ


def requeue(*, resumes: bool) -> bool:
    """Queue the SLURM job of this process again; says whether SLURM took it.

    Only a job step is queued again: the allocation that someone works in by hand is left alone. So is a job that was
    cancelled: SLURM would revive it, and it could no longer be stopped. Work that starts anew (`resumes` is false) is
    queued again when another job took its place, not when its time was too short: it would be so for ever, while a
    retry asks for more.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or "SLURM_STEP_ID" not in os.environ:
        return False
    try:
        if not _wanted(_described(job), resumes):
            return False
        _told("scontrol", "requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        log.info("SLURM did not queue job %s again: %s", job, " ".join(str(said).split()))
        return False
    log.info("SLURM queues job %s again", job)
    return True


def overtime() -> bool:
    """Whether this process's SLURM job is past its time limit, or is about to be.

    SLURM looks at limits now and then, so a job may end by itself beyond its own; it then counts as failed.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or "SLURM_STEP_ID" not in os.environ:
        return False
    try:
        left = datetime.fromisoformat(_described(job)["EndTime"]) - datetime.now()
    except (OSError, subprocess.SubprocessError, KeyError, ValueError):  # SLURM is away, or there is no limit
        return False
    return left.total_seconds() < LEAVING


def _described(job: str) -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", _told("scontrol", "show", "job", "--oneliner", job)))


def _wanted(fields: Mapping[str, str], resumes: bool) -> bool:
    """Whether the job still runs, or ends only since its time is over or another job takes its place."""
    timed_out, displaced = fields.get("Reason") == "TimeLimit", fields.get("PreemptTime", "None") != "None"
    return displaced or (resumes and (fields.get("JobState") == "RUNNING" or timed_out))


def withdraw(jobs: Collection[str]) -> None:
    """Cancel jobs that a dead Snakemake has left behind, and wait until they have ended.

    Their trainings save their checkpoints, and jobs that follow go on from there instead of running beside them.
    Only this user's jobs that were started from this folder: where the results were copied to another cluster, a
    number may be another job's.
    """
    if not jobs:
        return
    limit = time.monotonic() + WITHDRAWAL
    try:
        left = _left(jobs)
        if left:
            log.info("SLURM ends %d jobs of a Snakemake that was killed", len(left))
            _told("scancel", "--quiet", *sorted(left))
        while left and time.monotonic() < limit:
            time.sleep(POLL_SECONDS)
            left = _left(jobs)
    except (OSError, subprocess.SubprocessError) as error:
        log.info("jobs %s may still run: %s", ", ".join(sorted(jobs)), " ".join(str(error).split()))


def _left(jobs: Collection[str]) -> set[str]:
    """Those that wait, run or are about to end; by user, since squeue refuses a list with a number that it forgot."""
    lines = (line.partition(" ") for line in _told("squeue", "--me", "--noheader", "--format=%i %Z").splitlines())
    return {job for job, _, folder in lines if job in jobs and Path(folder).resolve() == Path.cwd().resolve()}


def _told(*command: str) -> str:
    """The output of a SLURM program; raises subprocess's error when it fails, OSError when it is not installed."""
    return output_of(*command, seconds=PATIENCE)
