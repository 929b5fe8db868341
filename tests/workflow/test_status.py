"""What `layerlottery status` says, beside what Snakemake counts, while a benchmark runs and after it was killed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.workflow.project import TICKET, TINY

from layerlottery.cli.configuration import load_configuration
from layerlottery.upkeep.status import LEFT, status


def left(project, monkeypatch, *words, config="tiny.yaml"):
    """The rules of jobs that are left, and `all`, which Snakemake counts beside them."""
    monkeypatch.chdir(project.root)
    benchmark = load_configuration(Path(config), words)
    project.results.mkdir(exist_ok=True)
    rules = Counter(job.rule for job in status(project.results, benchmark).of(LEFT))
    return dict(rules) | {"all": 1} if rules else {}


@pytest.mark.parametrize("config", ["workflow/presets/paper.yaml", "config.yaml", "workflow/presets/extended.yaml"])
def test_before_a_run_every_job_of_snakemake_is_left(fresh, monkeypatch, config):
    expected = fresh.jobs("--quiet", "--config", "results=results", config=(config,))
    assert left(fresh, monkeypatch, "results=results", config=config) == expected


def test_after_a_run_nothing_is_left(copied, monkeypatch):
    assert left(copied, monkeypatch) == {}
    (copied.root / TICKET / "attack.parquet").unlink()
    # Snakemake does not miss what lies behind a file that is there
    assert copied.jobs() == {}
    assert "lost afterwards: layerlottery verify --remove" in told(copied)
    for folder in ("report", "tables"):
        shutil.rmtree(copied.results / folder)
    (copied.results / "manifest.json").unlink()
    assert left(copied, monkeypatch) == copied.jobs()


def told(project, *words):
    ran = project.call("layerlottery", "status", *words)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.slow
def test_a_run_is_seen_while_it_goes_on_and_after_a_kill(fresh):
    fresh.write(TINY | {"training": {"epochs": 2000, "batch_size": 30}})
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "tiny.yaml"]
    running = subprocess.Popen(
        command, cwd=fresh.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        logs = fresh.results / "logs/train/networks/dataset=digits/network=tiny/seed=0"
        wait(lambda: any("epoch 2/" in log.read_text() for log in logs.glob("recipe=*.log")))
        said = told(fresh)
        assert "results: running since 20" in said
        assert "  train · dense, seed 0, tiny on digits: epoch " in said
        assert "to go on" not in said
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    said = told(fresh)
    assert "results: stopped; " in said
    assert said.endswith("to go on: snakemake --cores all --configfile tiny.yaml\n")


def wait(happened, seconds=120):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.2)
