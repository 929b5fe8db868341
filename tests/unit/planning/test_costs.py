"""Seconds of jobs from rates that are round numbers, and bytes of files."""

import pytest

from layerlottery.config.benchmark import load_benchmark
from layerlottery.planning.costs import Costs
from layerlottery.planning.disk import size
from layerlottery.planning.images import ImageSet
from layerlottery.planning.jobs import jobs_of
from layerlottery.planning.rates import Rates

DENSE = {"step": 0.01, "test": 0.001, "start": 0.5, "forward": 0.001, "forward_start": 0.25, "pgd": 0.01, "fmn": 0.02}
DENSE |= {"compare": 2.0, "counted": 0.5, "memory": 0.01, "macs": 100.0, "parameters": 1000.0, "bytes": 4000.0}
# a ticket that lost three blocks takes and holds half of everything
HALF = {name: value / 2 for name, value in DENSE.items()}
FAMILY = ("digits", "resnet20")
STAGES = {"initialize": 0.1, "score": 0.1, "prune": 0.1, "train": 1.0, "attack": 1.0, "shift": 1.0, "compare": 1.0}
IMAGES = {"digits": ImageSet(1, 8, 10, train=1000, test=100, shifted=50, held_out=10)}
CONFIG = {
    "datasets": {"digits": {"source": "digits"}},
    "studies": [
        {
            "name": "one",
            "datasets": ["digits"],
            "networks": ["resnet20"],
            "seeds": [0],
            "criteria": ["snip", "cka_iterative"],
            "scored_at": ["trained"],
            "removed": [1, 3],
            "rewinds": [0, 4],
        }
    ],
    "training": {"epochs": 10},
    "attack": {"attacks": ["transfer"], "epsilons": [1.0, 2.0], "pgd_steps": 5, "images": 40},
    "corruptions": {"names": ["fog"], "severities": [1, 2], "images": 30},
    "outliers": {"images": 20},
}


def rates(**changes):
    criteria = {("digits", "resnet20", name, "layers"): 0.4 for name in ("snip", "cka_iterative")}
    given = {
        "device": "auto",
        "networks": {(*FAMILY, "none"): DENSE, (*FAMILY, "layers"): HALF},
        "removed": {(*FAMILY, "none"): 0, (*FAMILY, "layers"): 3},
        "scores": criteria,
        "stages": STAGES,
        "corrupted": {"digits": 0.01},
    }
    return Rates(**given | changes)


@pytest.fixture
def benchmark():
    return load_benchmark(CONFIG)


def seconds(benchmark, rule, **wanted):
    costs = Costs(benchmark, IMAGES, rates())
    jobs = [
        job
        for job in jobs_of(benchmark)
        if job.rule == rule and all(getattr(job.run, name) == value for name, value in wanted.items())
    ]
    found = {round(costs.seconds(job), 6) for job in jobs}
    assert len(found) == 1
    return found.pop()


def test_a_dense_training(benchmark):
    # 1 of the stage, 0.5 of the first step, ten epochs of 1,000 steps of 0.01 and 100 of 0.001
    assert seconds(benchmark, "train_dense") == pytest.approx(1 + 0.5 + 10 * (10 + 0.1))


def test_a_ticket_saves_its_share_and_the_epochs_before_its_rewind(benchmark):
    assert seconds(benchmark, "train_ticket", removed=3, rewind="0") == pytest.approx(1 + (0.5 + 101) / 2)
    assert seconds(benchmark, "train_ticket", removed=1, rewind="0") == pytest.approx(1 + (0.5 + 101) * 5 / 6)
    assert seconds(benchmark, "train_ticket", removed=3, rewind="4") == pytest.approx(1 + (0.5 + 60.6) / 2)


def test_transfer_takes_every_step_on_every_image(benchmark):
    assert seconds(benchmark, "attack") == pytest.approx(1 + 40 * 2 * 5 * 0.01)


def test_shift_shows_every_image_once(benchmark):
    # 100 clean, 10 held out, 50 shifted, 2 conditions of 30, 2 sets of 20
    assert seconds(benchmark, "shift", removed=0) == pytest.approx(1 + 0.25 + 0.001 * (100 + 10 + 50 + 60 + 40))


def test_scoring_again_after_every_removal_takes_longer(benchmark):
    assert seconds(benchmark, "score", criterion="snip") == 0.4
    assert seconds(benchmark, "score", criterion="cka_iterative") > 2 * 0.4


def test_a_job_takes_its_launch_on_top(benchmark):
    costs = Costs(benchmark, IMAGES, rates(launch=7.0))
    job = next(job for job in jobs_of(benchmark) if job.rule == "prune")
    assert costs.seconds(job) == pytest.approx(7.1)


def test_energy_counts_the_processor_while_it_works_and_the_memory_by_the_clock(benchmark):
    costs = Costs(benchmark, IMAGES, rates(watts=5.0, memory_watts=10.0, slowdown=1.5))
    assert costs.energy(2.0) == pytest.approx(2 * 5 + 3 * 10)


def test_weights_and_arrays_are_what_fills_the_disk(benchmark):
    large = rates(networks={(*FAMILY, "none"): DENSE | {"bytes": 4e9}, (*FAMILY, "layers"): HALF | {"bytes": 2e9}})
    found = {}
    for job in jobs_of(benchmark):
        found.setdefault(job.rule, []).append(size(job, benchmark, IMAGES, large))
    assert found["initialize"][0] == pytest.approx(4e9, rel=1e-4)
    # the last epoch's, and those that tickets rewind to
    assert found["train_dense"][0] == pytest.approx(8e9, rel=1e-4)
    assert sorted({round(one / 1e9, 2) for one in found["train_ticket"]}) == [2.0, 3.33]
    assert found["prepare"][0] - size_of_facts(benchmark) == (1000 + 100 + 50 + 10) * (64 + 8)


def size_of_facts(benchmark):
    nothing = {"digits": ImageSet(1, 8, 10, train=0, test=0)}
    return size(next(iter(jobs_of(benchmark))), benchmark, nothing, rates())


def test_architectures_of_a_family_are_those_that_random_choices_would_tell_apart(benchmark):
    costs = Costs(benchmark, IMAGES, rates())
    dense = benchmark.runs()[0]
    # two criteria, each with 1 and 3 removed; rewinds share what was chosen. Of three stages one block leaves in three
    # ways, three blocks in ten: two draws find 3 * (1 - (2/3)**2) = 5/3 and 10 * (1 - 0.9**2) = 1.9 of them
    assert costs.signatures(dense) == pytest.approx(1 + 5 / 3 + 1.9)
