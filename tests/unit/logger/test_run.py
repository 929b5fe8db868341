"""Counts and the time that is left."""

import pytest

from snakemake_logger_plugin_layerlottery.run import Job, Run


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setattr("time.monotonic", lambda: clock["now"])
    clock = {"now": 0.0}
    run = Run()
    run.clock = clock
    return run


def work(run, number, rule, begins, ends):
    run.clock["now"] = begins
    run.start(Job(number, rule, {}))
    run.clock["now"] = ends
    run.finish(number)


def test_the_rest_takes_what_others_took(run):
    run.rules = {"train_dense": 10}
    assert run.left() is None
    work(run, 1, "train_dense", 0, 10)
    assert run.left() == pytest.approx(90)
    # of two at once, the second has begun
    run.start(Job(2, "train_dense", {}))
    run.start(Job(3, "train_dense", {}))
    run.clock["now"] = 15
    # 90 seconds of work, 10 of them done, at 20 seconds of work in 15
    assert run.left() == pytest.approx(80 / (20 / 15))


def test_short_first_jobs_say_nothing_of_the_others(run):
    run.rules = {"prepare": 1, "train_dense": 10, "train_ticket": 10}
    work(run, 1, "prepare", 0, 30)
    assert run.left() is None
    # a ticket is expected to take what dense networks took
    work(run, 2, "train_dense", 30, 40)
    assert run.left() == pytest.approx(190)


def test_counts_by_stage(run):
    run.rules = {"train_ticket": 2, "prepare": 1, "train_dense": 1}
    work(run, 1, "train_dense", 0, 1)
    assert list(run.stages()) == ["prepare 0/1", "train 1/3"]
    run.start(job := Job(5, "train_ticket", {}))
    assert run.place(job) == "2/3"
    run.start(job)
    assert run.place(job) == "2/3"
    assert (run.done, run.total, run.finish(99)) == (1, 4, None)
