"""The command: what it hands on, JSON, and mistakes in one line."""

import json

import click
import pytest
import yaml
from click.testing import CliRunner

from layerlottery.cli.main import cli
from layerlottery.errors import LayerLotteryError
from layerlottery.planning import jobs

STUDY = {
    "name": "one",
    "datasets": ["digits"],
    "networks": ["resnet14"],
    "seeds": [0],
    "criteria": ["l1"],
    "removed": [],
}
CONFIG = {"datasets": {"digits": {"source": "digits"}}, "studies": [STUDY]}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "Snakefile").touch()


def plan(*words):
    ran = CliRunner().invoke(cli, ["plan", *words], standalone_mode=False)
    if ran.exception:
        raise ran.exception
    return ran.stdout


def test_snakemake_is_asked_about_the_same_benchmark(config, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "jobs_of", lambda *given: asked.append(given) or [])
    found = json.loads(plan("--config", "training={epochs: 3}", "--results", "elsewhere", "--cores", "3", "--json"))
    ((file, values, results),) = asked
    assert (str(file), values, results) == ("config.yaml", ["training={epochs: 3}", "results=elsewhere"], "elsewhere")
    assert (found["results"], found["cores"], found["networks"], found["tickets"]) == ("elsewhere", 3, 1, 0)
    assert found["stages"]["all"] == {"jobs": 0, "left": 0, "seconds": 0}


def test_it_runs_where_the_workflow_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LayerLotteryError, match="no Snakefile here; run plan in a clone"):
        plan()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--configfile", "none.yaml"], "none.yaml"),
        (["--config", "training={epochs: 0}"], "training.epochs"),
        (["--config", "nonsense"], "config.yaml: "),
        (["--configfile", "config.yaml", "--configfile", "config.yaml"], "--configfile: found several"),
        (["--results", "config.yaml"], "results: config.yaml is a file; allowed: a folder"),
        (["--results", "config.yaml/out/"], "results: config.yaml is a file; allowed: a folder"),
        (["--config", "training={crop: 9}"], "training.crop: found 9; the images of digits have 8 pixels a side"),
        (["--device-rates", "A100"], "No such option"),
    ],
)
def test_a_mistake_is_one_line(config, words, message):
    with pytest.raises((LayerLotteryError, OSError, click.UsageError)) as raised:
        plan(*words)
    text = raised.value.format_message() if isinstance(raised.value, click.UsageError) else str(raised.value)
    assert message in text
    assert "\n" not in text
