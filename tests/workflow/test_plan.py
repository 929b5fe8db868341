"""What `layerlottery plan` says, beside what Snakemake says and what a run leaves."""

import json

import pytest
from tests.workflow.project import DENSE, EVERY_JOB, FIRST, TICKET, TINY, edited

from layerlottery import paths
from layerlottery.cli.configuration import load_configuration
from layerlottery.planning.jobs import jobs_of, to_do

BENCHMARKS = ["config.yaml", *(f"workflow/presets/{name}.yaml" for name in ("cifar10_cpu", "paper", "robustness_cpu"))]


def counted(jobs):
    found = {}
    for job in jobs:
        found[job.rule] = found.get(job.rule, 0) + 1
    return found


def left(project, config):
    """The jobs that are to do by the plan's own reckoning, and `all`, which Snakemake counts beside them."""
    benchmark = load_configuration(project.root / config, [f"results={project.results}"])
    jobs = counted(to_do(benchmark, jobs_of(benchmark)))
    return jobs | {"all": 1} if jobs else jobs


@pytest.mark.parametrize("config", BENCHMARKS)
def test_jobs_of_a_whole_benchmark_are_those_of_a_dry_run(fresh, config):
    assert left(fresh, config) == fresh.jobs("--quiet", "--config", "results=results", config=(config,))


def test_nothing_is_left_of_a_finished_benchmark(finished):
    assert left(finished, "tiny.yaml") == {}


def grown(config):
    config["studies"].append(
        FIRST | {"name": "second", "criteria": ["l1", "random"], "seeds": [0, 1], "rewinds": [0, 1]}
    )


def test_jobs_of_a_benchmark_that_grew_are_those_of_a_dry_run(copied):
    copied.write(edited(TINY, grown))
    expected = copied.jobs()
    # a family with new tickets is profiled anew, since Snakemake sees that its input is another list
    assert left(copied, "tiny.yaml") == expected


def test_jobs_after_a_kill_are_those_of_a_dry_run(copied):
    for path in ("results/report/index.html", f"{TICKET}/attack.parquet", f"{DENSE}/shift.parquet"):
        (copied.root / path).unlink()
    for path in copied.results.glob("tables/*"):
        path.unlink()
    (copied.results / "manifest.json").unlink()
    assert left(copied, "tiny.yaml") == copied.jobs()


def plan(project, *words):
    ran = project.call("layerlottery", "plan", "--configfile", "tiny.yaml", *words)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_the_plan_of_a_finished_benchmark_agrees_with_what_is_there(finished):
    found = json.loads(plan(finished, "--cores", "1", "--json"))
    assert {"networks": found["networks"], "tickets": found["tickets"]} == {"networks": 2, "tickets": 1}
    whole, remaining = found["total"]["whole"], found["total"]["left"]
    assert (whole["jobs"], remaining["jobs"]) == (sum(EVERY_JOB.values()) - 1, 0)
    assert remaining["seconds"] == remaining["kwh"] == remaining["bytes"] == 0
    there = [paths.trained_weights(DENSE), paths.trained_weights(TICKET), paths.initial_weights(TICKET)]
    weights = sum((finished.root / name).stat().st_size for name in there)
    made = sum(path.stat().st_size for path in finished.results.rglob("*") if path.is_file())
    assert weights < whole["bytes"] < 2 * made
    assert whole["seconds"] > 0
    assert found["kg_co2"] == 0 < found["kg_co2_whole"]
    assert 0 < found["wall_seconds"] < found["wall_seconds_whole"]


@pytest.mark.slow
def test_the_table_names_every_stage_and_says_what_is_done(copied):
    copied.write(edited(TINY, lambda config: config["studies"][0].update(seeds=[0, 1])))
    text = plan(copied, "--cores", "2")
    rows = {line.split()[0]: line.split()[1:3] for line in text.splitlines() if line.strip()}
    assert rows["train"] == ["4", "2"]
    assert rows["prepare"] == ["1", "1"]
    assert rows["profile"] == ["2", "1"]
    assert "4 networks, 2 of them tickets" in text
