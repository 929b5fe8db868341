"""Into the queue again and out of it: when SLURM is asked, what it is asked, and what follows from its answers."""

import logging
import subprocess
from datetime import datetime, timedelta

import pytest

from layerlottery.runtime import requeue as module
from layerlottery.runtime.requeue import overtime, requeue, withdraw

# as SLURM 22.05 prints them, shortened
RUNNING = "JobId=7 JobState=RUNNING Reason=None Requeue=1 Restarts=0 PreemptTime=None TimeLimit=00:01:00"
CANCELLED = "JobId=7 JobState=COMPLETING Reason=None Requeue=1 Restarts=0 PreemptTime=None ExitCode=0:15"
PREEMPTED = "JobId=7 JobState=COMPLETING Reason=None Requeue=1 Restarts=0 PreemptTime=2026-03-01T10:00:00 ExitCode=0:15"
OVERTIME = "JobId=7 JobState=COMPLETING Reason=TimeLimit Requeue=1 Restarts=0 PreemptTime=None ExitCode=0:15"

SCONTROL = """#!/bin/sh
echo "$*" >> "{calls}"
case $1 in
show) echo "{description}" ;;
requeue) {answer} ;;
esac
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A function that puts a scontrol with given answers on PATH and this process into job 7; returns the calls."""

    def install(description, answer="exit 0"):
        calls, program = tmp_path / "calls", tmp_path / "scontrol"
        calls.touch()
        program.write_text(SCONTROL.format(calls=calls, description=description, answer=answer))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        monkeypatch.setenv("SLURM_STEP_ID", "0")
        return lambda: calls.read_text().splitlines()

    return install


def test_a_running_job_is_queued_again(slurm):
    calls = slurm(RUNNING)
    assert requeue(resumes=True) is True
    assert calls() == ["show job --oneliner 7", "requeue 7"]


@pytest.mark.parametrize("description", [PREEMPTED, OVERTIME], ids=["preempted", "overtime"])
def test_a_job_that_ends_before_its_work_does_is_queued_again(slurm, description):
    calls = slurm(description)
    assert requeue(resumes=True) is True
    assert calls()[-1] == "requeue 7"


@pytest.mark.parametrize(("description", "again"), [(PREEMPTED, True), (OVERTIME, False), (RUNNING, False)])
def test_work_that_starts_anew_is_queued_again_only_for_another_job_s_sake(slurm, description, again):
    calls = slurm(description)
    assert requeue(resumes=False) is again
    assert ("requeue 7" in calls()) is again


@pytest.mark.parametrize(("seconds", "over"), [(-20, True), (5, True), (120, False)])
def test_the_end_of_a_job_s_time_is_seen_before_it_comes(slurm, seconds, over):
    end = datetime.now() + timedelta(seconds=seconds)
    slurm(f"{RUNNING} EndTime={end:%Y-%m-%dT%H:%M:%S}")
    assert overtime() is over


def test_a_job_without_a_limit_or_outside_of_slurm_has_time(slurm, monkeypatch):
    slurm(f"{RUNNING} EndTime=Unknown")
    assert overtime() is False
    calls = slurm(f"{RUNNING} EndTime=2001-01-01T00:00:00")
    monkeypatch.delenv("SLURM_JOB_ID")
    before = calls()
    assert overtime() is False
    assert calls() == before


def test_a_cancelled_job_stays_cancelled(slurm):
    calls = slurm(CANCELLED)
    assert requeue(resumes=True) is False
    assert calls() == ["show job --oneliner 7"]


@pytest.mark.parametrize("variable", ["SLURM_JOB_ID", "SLURM_STEP_ID"])
def test_outside_a_job_step_slurm_is_not_asked(slurm, monkeypatch, variable):
    calls = slurm(RUNNING)
    monkeypatch.delenv(variable)
    assert requeue(resumes=True) is False
    assert calls() == []


def test_a_refusal_is_logged_in_one_line(slurm, caplog):
    slurm(RUNNING, answer="echo 'Requested operation is' >&2; echo 'presently disabled' >&2; exit 1")
    with caplog.at_level(logging.INFO):
        assert requeue(resumes=True) is False
    assert caplog.messages == ["SLURM did not queue job 7 again: Requested operation is presently disabled"]


def test_an_unreadable_answer_is_a_no(slurm):
    calls = slurm("slurm_load_jobs error")
    assert requeue(resumes=True) is False
    assert calls() == ["show job --oneliner 7"]


def test_a_controller_that_does_not_answer_is_not_waited_for(slurm, monkeypatch):
    slurm(RUNNING)

    def never(command, timeout, **options):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(module.subprocess, "run", never)
    assert requeue(resumes=True) is False


def test_without_scontrol_nothing_is_queued(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert requeue(resumes=True) is False


@pytest.mark.parametrize("path", ["", ".", "here:../x"])
def test_a_scontrol_of_the_current_folder_is_not_slurms(slurm, monkeypatch, tmp_path, path):
    calls = slurm(RUNNING)
    (tmp_path / "here").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path)
    assert requeue(resumes=True) is False
    assert calls() == []


def test_a_job_number_is_never_read_by_a_shell(slurm, monkeypatch, tmp_path):
    calls = slurm(RUNNING)
    monkeypatch.setenv("SLURM_JOB_ID", f"7; touch {tmp_path}/made")
    requeue(resumes=True)
    assert calls()[-1] == f"requeue 7; touch {tmp_path}/made"
    assert not (tmp_path / "made").exists()


SCANCEL = """#!/bin/sh
echo "$*" >> "{folder}/cancelled"
{answer}
"""
# each look at the queue finds one job less
SQUEUE = """#!/bin/sh
cat "{folder}/queue"
sed -i 1d "{folder}/queue"
echo "$*" >> "{folder}/looks"
"""


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A function that puts scancel and squeue on PATH, with three jobs in the queue; returns the folder of calls."""

    def install(answer="exit 0"):
        for name, text in (("scancel", SCANCEL), ("squeue", SQUEUE)):
            program = tmp_path / name
            program.write_text(text.format(folder=tmp_path, answer=answer))
            program.chmod(0o755)
        (tmp_path / "queue").write_text(f"5 {tmp_path}\n9 {tmp_path}\n12 /elsewhere\n")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        monkeypatch.setattr(module, "POLL_SECONDS", 0)
        return tmp_path

    return install


def test_jobs_left_behind_are_cancelled_and_waited_for(queue):
    folder = queue()
    withdraw({"9", "4"})
    # 4 has ended, 5 nobody left behind; 9 is gone at the third look
    assert (folder / "cancelled").read_text() == "--quiet 9\n"
    assert len((folder / "looks").read_text().splitlines()) == 3


def test_a_job_of_the_same_number_from_another_folder_is_left_alone(queue):
    folder = queue()
    withdraw({"12"})
    assert not (folder / "cancelled").exists()


def test_without_jobs_left_behind_slurm_is_not_asked(queue):
    folder = queue()
    withdraw([])
    assert not (folder / "cancelled").exists()


def test_a_job_that_does_not_end_is_not_waited_for_for_ever(queue, monkeypatch):
    folder = queue()
    monkeypatch.setattr(module, "WITHDRAWAL", -1)
    withdraw(["9"])
    assert len((folder / "looks").read_text().splitlines()) == 1


def test_a_scheduler_that_is_away_is_logged_and_no_error(queue, caplog):
    queue(answer="exit 1")
    with caplog.at_level(logging.INFO):
        withdraw(["9"])
    assert caplog.messages[-1].startswith("jobs 9 may still run: ")
