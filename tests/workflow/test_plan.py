"""What `layerlottery plan` says, beside what Snakemake's dry runs say and what a run leaves."""

import json
from collections import Counter

import pytest
from tests.workflow.project import EVERY_JOB, FIRST, TICKET, TINY, edited, snapshot

from layerlottery.planning.jobs import jobs_of


def left(project, monkeypatch, config="tiny.yaml", values=()):
    """The jobs that are left, and `all`, which a dry run counts beside them."""
    monkeypatch.chdir(project.root)
    jobs = Counter(job.rule for job in jobs_of(config, values, "results") if job.left)
    return dict(jobs) | {"all": 1} if jobs else {}


def test_jobs_of_a_whole_benchmark_are_those_of_a_dry_run(fresh, monkeypatch):
    config = "workflow/presets/paper.yaml"
    expected = fresh.jobs("--quiet", "--config", "results=results", config=(config,))
    assert left(fresh, monkeypatch, config, ["results=results"]) == expected


def test_jobs_left_of_a_benchmark_are_those_of_a_dry_run(copied, monkeypatch):
    assert left(copied, monkeypatch) == {}
    changed = ["attack={pgd_steps: 3}"]
    assert left(copied, monkeypatch, values=changed) == copied.jobs("--config", *changed)
    for path in ("results/report/index.html", f"{TICKET}/attack.parquet"):
        (copied.root / path).unlink()
    assert left(copied, monkeypatch) == copied.jobs()


def plan(project, *words):
    ran = project.call("layerlottery", "plan", "--configfile", "tiny.yaml", *words)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_benchmark_that_grew_is_planned_by_what_it_took_and_left_alone(copied):
    study = FIRST | {"name": "second", "criteria": ["l1", "random"], "seeds": [0, 1], "rewinds": [0, 1]}
    copied.write(edited(TINY, lambda config: config["studies"].append(study)))
    expected, before = copied.jobs(), snapshot(copied.results)
    found = json.loads(plan(copied, "--cores", "2", "--json", "--config", "energy={carbon_intensity: 2}"))
    stages, total = found["stages"], found["stages"]["all"]
    assert stages["train"]["left"] == expected["train_dense"] + expected["train_ticket"]
    assert (stages["prepare"]["jobs"], stages["prepare"]["left"]) == (1, 0)
    assert total["left"] == sum(expected.values()) - 1
    # nothing was rewound before, and profiles are of families that grew
    assert found["recorded"] == total["left"] - expected["rewind"] - expected["profile"]
    assert total["seconds"] / 2 <= found["wall_seconds"] <= total["seconds"]
    assert found["kg_co2"] == pytest.approx(2 * found["kwh"]) != 0
    assert snapshot(copied.results) == before


def test_a_finished_benchmark_has_nothing_left(copied):
    jobs = sum(EVERY_JOB.values()) - 1
    told = f"2 networks, 1 of them tickets; {jobs} of {jobs} jobs are done\nNothing is left to do in results."
    assert told in plan(copied)
