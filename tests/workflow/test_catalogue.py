"""The workflow as Snakemake's catalogue and its tools find it, as a module of another one, and in containers."""

import os
import re
import stat
import sys

import pytest
import yaml
from tests.workflow.project import EVERY_JOB, ROOT, TINY, Project, job_table

MODULE = """
configfile: "config/config.yaml"


module lottery:
    snakefile:
        "{snakefile}"
    config:
        config


use rule * from lottery


onstart:
    lottery.onstart()
"""
# apptainer [--quiet] exec OPTIONS IMAGE sh -c COMMAND
APPTAINER = """#!/bin/sh
if [ "$1" = --version ]; then echo "apptainer version 1.3.0"; exit; fi
echo "$LAYERLOTTERY_WORKER $*" >> "{calls}"
for last; do :; done
exec bash -c "$last"
"""


def test_the_files_that_the_catalogue_asks_for():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"].items() >= {"conda": True, "report": True}.items()
    assert usage["mandatory-flags"]["flags"] == ""
    assert (ROOT / "workflow" / "Snakefile").is_file()
    assert (ROOT / "config" / "README.md").is_file()
    # which tools copy beside their own Snakefile
    assert (ROOT / "config" / "config.yaml").read_text() == (ROOT / "config.yaml").read_text()


def test_the_snakefile_below_workflow_is_the_same_workflow(fresh):
    assert fresh.jobs("--snakefile", "workflow/Snakefile") == EVERY_JOB


def test_finished_results_stay_when_it_is_run_by_its_other_name(copied):
    ran = copied.snakemake("--dry-run", "--snakefile", "workflow/Snakefile")
    assert "Nothing to be done" in ran.stdout + ran.stderr


def test_as_a_module_of_a_workflow_elsewhere(fresh, tmp_path_factory):
    """What snakedeploy writes: another Snakefile, another folder, the configuration in config/."""
    folder = tmp_path_factory.mktemp("deployed")
    (folder / "config").mkdir()
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(TINY))
    (folder / "Snakefile").write_text(MODULE.format(snakefile=fresh.root / "workflow" / "Snakefile"))
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    deployed = Project(folder)
    assert job_table(deployed.call(*command, "--dry-run")) == EVERY_JOB
    target = "results/datasets/dataset=digits/facts.json"
    ran = deployed.call(*command, target)
    assert ran.returncode == 0, ran.stderr
    assert (folder / target).is_file()
    assert (folder / "results" / ".lock").is_file()


def test_snakemakes_own_report(copied):
    ran = copied.snakemake("--report", "report.html")
    assert ran.returncode == 0, ran.stderr
    page = (copied.root / "report.html").read_text()
    assert "a forest plot of every" in page
    assert len(re.findall(r"A table, figure or claim of a paper", page)) >= 1
    for name in ("table1.md", "claims.md", "index.html"):
        assert name in page
    again = copied.snakemake("--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


@pytest.fixture
def contained(fresh):
    """A project, an image that is none, and an apptainer that notes what it is asked and runs it here."""
    calls, program = fresh.root / "calls.txt", fresh.root / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text(APPTAINER.format(calls=calls))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    fresh.calls, fresh.bin = calls, program.parent
    return fresh


def run_contained(project, *words, **environment):
    path = f"{project.bin}{os.pathsep}{os.environ['PATH']}"
    return project.snakemake(*words, "--sdm", "apptainer", environment={"PATH": path} | environment)


def test_jobs_run_in_the_container_that_is_asked_for(contained):
    (contained.root / "mine.sif").touch()
    target = "results/datasets/dataset=digits/facts.json"
    ran = run_contained(contained, target, LAYERLOTTERY_CONTAINER="mine.sif")
    assert ran.returncode == 0, ran.stderr
    (call,) = contained.calls.read_text().splitlines()
    # in the container, and not by a process outside of it
    assert call.startswith(" ")
    assert re.search(r" mine\.sif \w+ -c .*layerlottery prepare ", call)


def test_a_missing_image_is_one_line_before_any_work(contained):
    ran = run_contained(contained)
    assert ran.returncode != 0
    line = "layerlottery: layerlottery.sif: no such container image; build it: apptainer build layerlottery.sif envs/"
    assert line in ran.stderr
    assert not contained.results.exists()


def test_without_containers_nothing_is_run_again(copied):
    """Results that were made without a container, and the same workflow: the directive changes nothing."""
    ran = copied.snakemake("--dry-run")
    assert "Nothing to be done" in ran.stdout + ran.stderr
