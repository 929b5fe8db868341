"""The jobs of a benchmark, counted by hand, and which are left; tests/workflow compares them with Snakemake's."""

from collections import Counter
from pathlib import Path

import pytest

from layerlottery.config.benchmark import load_benchmark
from layerlottery.planning.jobs import jobs_of, to_do

STUDY = {"name": "one", "datasets": ["digits"], "networks": ["resnet20"], "seeds": [0, 1]}


def benchmark(results, **study):
    given = STUDY | {"criteria": ["snip"], "removed": [1, 2]} | study
    return load_benchmark({"results": str(results), "datasets": {"digits": {"source": "digits"}}, "studies": [given]})


def counted(jobs):
    return Counter(job.rule for job in jobs)


def test_two_seeds_of_one_criterion_and_two_sizes(tmp_path):
    # 2 dense networks, 4 tickets, 2 scorings
    assert counted(jobs_of(benchmark(tmp_path))) == {
        **{"prepare": 1, "corrupt": 1, "outliers": 1, "initialize": 2, "score": 2, "prune": 4},
        **{"train_dense": 2, "train_ticket": 4, "attack": 2, "attack_ticket": 4, "shift": 6, "compare": 4},
        **{"profile": 2, "aggregate": 1, "tabulate": 1, "report": 1, "manifest": 1},
    }


def test_starts_and_structures_bring_jobs_of_their_own(tmp_path):
    found = counted(
        jobs_of(
            benchmark(
                tmp_path,
                seeds=[0],
                removed=[1],
                rewinds=[0, 2, "random"],
                structures=["layers", "filters", "weights"],
            )
        )
    )
    # one scoring of blocks sets the budget of filters and weights, which have scorings of their own
    assert (found["score"], found["score_weights"], found["rewind"], found["reinitialize"]) == (2, 1, 1, 1)
    assert found["prune"] == found["train_ticket"] == 9


def test_a_budget_by_another_criterion_is_scored_too(tmp_path):
    # complexity scores filters alone; snip's blocks set how many go
    found = jobs_of(benchmark(tmp_path, seeds=[0], removed=[1], criteria=["complexity_macs"], structures=["filters"]))
    scored = [(job.run.criterion, job.run.structure) for job in found if job.rule == "score"]
    assert sorted(scored) == [("complexity_macs", "filters"), ("snip", "layers")]


def test_an_empty_list_only_scores(tmp_path):
    found = counted(jobs_of(benchmark(tmp_path, removed=[])))
    assert (found["score"], found["prune"], found["train_dense"], found["train_ticket"]) == (2, 0, 2, 0)


def test_every_job_stands_after_those_whose_files_it_reads(tmp_path):
    jobs = jobs_of(benchmark(tmp_path, scored_at=["init", "trained"], rewinds=[0, 1, "random"]))
    made = {file for job in jobs for file in job.outputs}
    seen = set()
    for job in jobs:
        assert (set(job.inputs) & made) <= seen
        seen |= set(job.outputs)
    assert sum(len(job.outputs) for job in jobs) == len(made)


@pytest.fixture
def done(tmp_path):
    """A benchmark all of whose files are there."""
    chosen = benchmark(tmp_path)
    for job in jobs_of(chosen):
        for file in job.outputs:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            Path(file).touch()
    return chosen


def test_nothing_is_left_when_all_files_are_there(done):
    assert to_do(done, jobs_of(done)) == []


def test_everything_is_left_at_first(tmp_path):
    jobs = jobs_of(benchmark(tmp_path))
    assert to_do(benchmark(tmp_path), jobs) == jobs


def test_a_missing_table_brings_what_follows_from_it(done):
    Path(done.results, "tables", "runs.parquet").unlink()
    assert counted(to_do(done, jobs_of(done))) == {"aggregate": 1, "tabulate": 1, "report": 1, "manifest": 1}


def test_what_a_running_job_reads_is_made_and_what_reads_it_runs(done):
    seed = Path(done.results, "networks", "dataset=digits", "network=resnet20", "seed=1")
    ticket = seed / "structure=layers/criterion=snip/draw=0/scored_at=init/removed=2/rewind=0"
    (ticket / "weights.safetensors").unlink()
    # nobody asks for the weights themselves
    assert to_do(done, jobs_of(done)) == []
    (ticket / "attack.parquet").unlink()
    # the attack needs the weights, whose other readers then run, too
    assert counted(to_do(done, jobs_of(done))) == {
        **{"train_ticket": 1, "attack_ticket": 1, "shift": 1, "compare": 1},
        **{"aggregate": 1, "tabulate": 1, "report": 1, "manifest": 1},
    }


def test_a_later_seed_leaves_the_first_ones_alone(done):
    more = benchmark(done.results, seeds=[0, 1, 2])
    left = to_do(more, jobs_of(more))
    assert {job.run.seed for job in left if job.run} == {2}
    assert (counted(left)["train_ticket"], counted(left)["aggregate"]) == (2, 1)
