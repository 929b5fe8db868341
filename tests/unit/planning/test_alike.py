"""Networks that start from the same weights, and are trained alike, are one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from layerlottery import paths
from layerlottery.config.loading import load_benchmark
from layerlottery.planning import plan as planning
from layerlottery.planning.alike import alike
from layerlottery.planning.estimate import Measured
from layerlottery.planning.jobs import Job
from layerlottery.store.artifacts import write_tensors

STUDY = {"name": "one", "datasets": ["digits"], "networks": ["resnet20"], "seeds": [0], "criteria": ["l1", "snip"]}
CONFIG = {
    "datasets": {"digits": {"source": "digits", "train_size": 100, "test_size": 50}},
    "studies": [STUDY | {"removed": [1, 2], "rewinds": [0, 5]}],
    "training": {"epochs": 10},
}


@pytest.fixture
def benchmark(tmp_path):
    return load_benchmark(CONFIG | {"results": str(tmp_path / "results")})


def start(benchmark, run, value):
    folder = run.folder if run.removed else paths.NETWORK.format(**vars(run))
    path = Path(paths.initial_weights(f"{benchmark.results}/{folder}"))
    write_tensors(path, {"w": np.full(2, value)}, {"architecture": {}}, config_hash="made by some criterion")
    return str(path)


def tickets(benchmark):
    return {(run.criterion, run.removed, run.rewind): run for run in benchmark.runs()}


def test_they_count_as_far_as_they_are_chosen(benchmark):
    assert alike(benchmark, ()) == replace(alike(benchmark, ()), known=0, distinct=0, copies=frozenset())
    runs = tickets(benchmark)
    start(benchmark, runs[None, 0, "0"], 0)
    start(benchmark, runs["l1", 1, "0"], 1)
    start(benchmark, runs["snip", 1, "0"], 1)
    start(benchmark, runs["snip", 2, "0"], 2)
    # the same weights, trained from epoch 5 on: another training
    start(benchmark, runs["l1", 1, "5"], 1)
    found = alike(benchmark, ())
    assert (found.known, found.distinct) == (5, 4)
    assert found.copies == {f"{benchmark.results}/{runs['snip', 1, '0'].folder}"}


def test_what_is_to_be_made_again_or_is_broken_is_not_known(benchmark):
    runs = tickets(benchmark)
    again = start(benchmark, runs["l1", 1, "0"], 1)
    Path(start(benchmark, runs["snip", 1, "0"], 1)).write_bytes(b"no weights")
    start(benchmark, runs["snip", 2, "0"], 1)
    assert alike(benchmark, {again}).known == 1


def test_the_plan_counts_a_training_once(benchmark, monkeypatch):
    measured = {("digits", "resnet20"): [Measured(100, 1000, rates=(1e-5, 2e-5, 1e-4), kwh=2e-6)]}
    monkeypatch.setattr("layerlottery.planning.calibrate.measured", lambda *given, **options: measured)
    runs = [tickets(benchmark)[criterion, 1, "0"] for criterion in ("l1", "snip")]
    jobs = []
    for run in runs:
        file = paths.trained_weights(f"{benchmark.results}/{run.folder}")
        jobs.append(Job("train_ticket", dict(paths.wildcards(file)), (file,), left=True))
    start(benchmark, runs[0], 1)
    start(benchmark, runs[1], 2)
    apart = planning.plan(benchmark, jobs, cores=1)
    assert "distinct" not in "\n".join(apart.lines())
    start(benchmark, runs[1], 1)
    found = planning.plan(benchmark, jobs, cores=1)
    assert found.stages["train"]["left"] == 2
    assert found.stages["train"]["seconds"] == pytest.approx(apart.stages["train"]["seconds"] / 2, rel=0.1)
    assert found.wall_seconds < 0.6 * apart.wall_seconds
    assert "1 of the 2 already chosen are distinct; the same training is done once" in found.lines()
