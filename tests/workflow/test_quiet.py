"""A dry run of many jobs is asked for with --quiet: it takes half the time, and still has to say what it would do."""

import re

import pytest
from tests.workflow.project import EVERY_JOB, job_table


@pytest.mark.parametrize(("words", "told"), [("", True), ("--quiet", False), ("--quiet progress", True)])
def test_every_dry_run_counts_its_jobs(fresh, words, told):
    ran = fresh.snakemake("--dry-run", *words.split())
    assert ran.returncode == 0, ran.stderr
    text = ran.stdout + ran.stderr
    assert job_table(ran) == EVERY_JOB
    assert set(re.findall(r"^(?:local)?rule (\w+):$", text, re.MULTILINE)) == (set(EVERY_JOB) if told else set())
    # Snakemake alone writes the table before and after the text of the jobs
    assert text.count("Job stats:") == (1 if words == "--quiet" else 2)
