"""What a quiet dry run lets through."""

import logging

import pytest

from layerlottery.runtime.dry_run import JobTable, show_job_table


@pytest.fixture
def logger():
    chosen = logging.getLogger("snakemake.logging")
    before = list(chosen.handlers)
    yield chosen
    chosen.handlers[:] = before


def test_the_table_of_jobs_is_written_and_nothing_else(logger, capsys):
    show_job_table()
    logger.error("a shell command", extra={"event": "shellcmd"})
    logger.error("a line without an event")
    logger.error("job  count\n%s  %d", "train", 3, extra={"event": "run_info"})
    assert capsys.readouterr().err == "job  count\ntrain  3\n"
    assert isinstance(logger.handlers[-1], JobTable)
