"""Snakemake's summary and the records of finished jobs, made up and read."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from layerlottery.errors import LayerLotteryError
from layerlottery.planning.jobs import Job, jobs_of, parse, records
from layerlottery.store.artifacts import read_facts, write_facts

DENSE = "results/networks/dataset=digits/network=resnet20/seed=0/recipe=default-0a1b2c3d"
TICKET = f"{DENSE}/structure=layers/criterion=l1/draw=0/scored_at=init/removed=2/rewind=0"
WILDCARDS = {"dataset": "digits", "network": "resnet20", "seed": "0", "recipe": "default-0a1b2c3d"}


def summary(*rows):
    lines = ["Building DAG of jobs...", "output_file\tdate\trule\tlog-file(s)\tstatus\tplan"]
    return "\n".join([*lines, *(f"{output}\t-\t{rule}\t-\tok\t{plan}" for output, rule, plan in rows)])


def test_files_of_one_job_are_one_job_and_starts_of_tickets_are_not():
    table = summary(
        (f"{TICKET}/weights.safetensors", "train_ticket", "update pending"),
        (f"{TICKET}/training.json", "train_ticket", "update pending"),
        (f"{DENSE}/rewind=2.safetensors", "rewind", "no update"),
        (f"{DENSE}/rewind=5.safetensors", "rewind", "update pending"),
        ("results/tables/runs.parquet", "aggregate", "no update"),
        ("elsewhere.txt", "nobody's", "update pending"),
    )
    # the results folder's own name may look like a wildcard
    jobs = parse(table.replace("results/", "a=b/"), "a=b")
    assert [(job.rule, job.stage, job.left, len(job.outputs)) for job in jobs] == [
        ("train_ticket", "train", True, 2),
        ("rewind", "rewind", False, 1),
        ("rewind", "rewind", True, 1),
        ("aggregate", "aggregate", False, 1),
    ]
    assert (jobs[0].wildcards["removed"], jobs[2].wildcards["rewind"]) == ("2", "5")
    assert (jobs[0].network, jobs[3].network, jobs[3].wildcards) == (("digits", "resnet20"), None, {})


def test_what_snakemake_complains_about_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text("results: results")
    with pytest.raises(LayerLotteryError, match=r"snakemake --summary: .*Snakefile") as raised:
        jobs_of(Path("config.yaml"), [], "results")
    assert "\n" not in str(raised.value)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("layerlottery.planning.jobs.where", lambda: {"host": "node1"})
    return tmp_path


def trained(folder, *segments):
    held = [{"seconds": 10.0, "kwh": 0.5, "host": "node1", "slurm_job_id": None} | one for one in segments]
    write_facts(Path(folder, "training.json"), {"segments": held}, config_hash="made up")


def ran(output, start, end):
    """As Snakemake keeps it: a long name is cut, and all pieces but the last begin with @."""
    name = base64.urlsafe_b64encode(output.encode()).decode()
    pieces = [name[first : first + 254] for first in range(0, len(name), 254)]
    path = Path(".snakemake", "metadata", *(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"starttime": start, "endtime": end}) if end else "{")


TRAINING = Job("train_dense", WILDCARDS, (f"{DENSE}/weights.safetensors",), left=False)
SHIFT = Job("shift", WILDCARDS, (f"{TICKET}/shift.parquet", f"{TICKET}/detection.parquet"), left=False)


def test_segments_of_a_training_add_up_and_others_took_from_their_start_to_their_last_output(here):
    trained(DENSE, {"seconds": 20.0}, {})
    for output, end in zip(SHIFT.outputs, (103.0, 104.5), strict=True):
        ran(output, 100.0, end)
    assert [(one.seconds, one.kwh) for one in records([TRAINING, SHIFT], "results")] == [(30.0, 1.0), (4.5, 0.0)]


@pytest.mark.parametrize("elsewhere", [{"host": "node2"}, {"slurm_job_id": "41"}])
def test_networks_trained_elsewhere_tell_nothing(here, elsewhere):
    trained(DENSE, {}, elsewhere)
    ran(SHIFT.outputs[0], 100.0, 103.0)
    assert not list(records([TRAINING, SHIFT], "results"))


def test_jobs_that_are_left_and_broken_records_tell_nothing(here):
    trained(DENSE, {})
    ran(SHIFT.outputs[0], 100.0, None)
    assert not list(records([SHIFT, replace(TRAINING, left=True)], "results"))


def test_what_all_networks_share_counts_though_it_is_made_again(here):
    ran("results/report/index.html", 10.0, 16.0)
    report = Job("report", {}, ("results/report/index.html",), left=True)
    assert [one.seconds for one in records([report], "results")] == [6.0]


def test_a_training_that_was_copied_is_not_timed_twice(here):
    ticket = Job("train_ticket", WILDCARDS, (f"{TICKET}/weights.safetensors",), left=False)
    trained(DENSE, {"seconds": 20.0})
    trained(TICKET, {"seconds": 20.0})
    assert len(list(records([TRAINING, ticket], "results"))) == 2
    facts = Path(TICKET, "training.json")
    held = read_facts(facts)
    write_facts(facts, {"segments": held["segments"], "copied_from": "another"}, config_hash="made up")
    assert [one.job for one in records([TRAINING, ticket], "results")] == [TRAINING]


def test_before_its_training_what_a_network_took_is_known(here):
    score = Job("score", {"dataset": "digits", "network": "resnet20", "seed": "0"}, ("results/s.json",), left=False)
    ran("results/s.json", 10.0, 12.5)
    assert [one.seconds for one in records([score], "results")] == [2.5]
