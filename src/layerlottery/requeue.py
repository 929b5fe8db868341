"""A training that SLURM interrupts puts its job back into the queue, where it waits for its next turn and resumes.

So a training takes as many jobs as it needs, however short the time limit, and Snakemake's retries remain for failures.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess

log = logging.getLogger(__name__)

# a controller that is busy or starting again may take a while; SIGTERM comes minutes before the limit
PATIENCE = 30


def requeue() -> bool:
    """Queue the SLURM job of this process again; says whether SLURM took it.

    Only a job step is queued again: the allocation that someone works in by hand is left alone. So is a job that was
    cancelled: SLURM would revive it, and nobody could stop it any more.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or "SLURM_STEP_ID" not in os.environ:
        return False
    try:
        if not _wanted(_scontrol("show", "job", "--oneliner", job)):
            return False
        _scontrol("requeue", job)
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or error
        log.info("SLURM did not queue job %s again: %s", job, " ".join(str(said).split()))
        return False
    log.info("SLURM queues job %s again", job)
    return True


def _wanted(description: str) -> bool:
    """Whether the job still runs, or ends only since its time is over or another job takes its place."""
    fields = dict(re.findall(r"(\w+)=(\S+)", description))
    timed_out, displaced = fields.get("Reason") == "TimeLimit", fields.get("PreemptTime", "None") != "None"
    return fields.get("JobState") == "RUNNING" or timed_out or displaced


def _scontrol(*words: str) -> str:
    """What scontrol prints; an error of subprocess when it fails, an OSError when there is none."""
    command = ["scontrol", *words]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S603
    return ran.stdout
