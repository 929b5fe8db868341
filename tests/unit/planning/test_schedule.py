"""Toys whose end can be worked out on paper."""

import pytest

from layerlottery.planning.jobs import Job
from layerlottery.planning.schedule import makespan

CHAIN = [Job("prepare", (), ("a",)), Job("initialize", ("a",), ("b",)), Job("train_dense", ("b",), ("c",))]
LENGTHS = {"prepare": 1.0, "initialize": 2.0, "train_dense": 4.0, "profile": 3.0}


def length(job):
    return LENGTHS[job.rule]


def one(job):
    return 1


def alone(number):
    return Job("train_dense", (), (f"alone{number}",))


@pytest.mark.parametrize("cores", [1, 2, 8])
def test_a_chain_takes_its_whole_length_on_any_number_of_cores(cores):
    assert makespan(CHAIN, length, one, available=cores) == 7.0


@pytest.mark.parametrize(("cores", "end"), [(1, 20.0), (2, 12.0), (5, 4.0), (50, 4.0)])
def test_jobs_that_wait_for_nothing_fill_the_cores(cores, end):
    assert makespan([alone(number) for number in range(5)], length, one, available=cores) == end


def test_a_job_waits_for_all_that_it_reads():
    both = Job("initialize", ("a", "alone0"), ("d",))
    # prepare ends at 1, the training at 4, then two seconds more
    assert makespan([CHAIN[0], alone(0), both], length, one, available=2) == 6.0


def test_a_job_of_all_cores_runs_alone():
    whole = Job("profile", ("a",), ("p",))
    jobs = [CHAIN[0], alone(0), alone(1), whole]
    # 0-1 prepare, 0-4 and 1-5 the trainings, 5-8 the profile
    assert makespan(jobs, length, lambda job: 2 if job is whole else 1, available=2) == 8.0


def test_more_cores_than_there_are_is_all_of_them():
    assert makespan([Job("profile", (), ("p",))], length, lambda job: 1024, available=2) == 3.0


def test_files_that_no_job_makes_are_there():
    assert makespan([Job("initialize", ("elsewhere",), ("d",))], length, one, available=1) == 2.0


def test_no_jobs_take_no_time():
    assert makespan([], length, one, available=2) == 0.0
