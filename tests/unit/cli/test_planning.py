"""The command: GPUs by their data sheets, JSON, and mistakes in one line."""

import json

import pytest
import yaml
from click.testing import CliRunner

from layerlottery.cli.main import cli
from layerlottery.errors import LayerLotteryError
from layerlottery.planning.devices import BACKWARD, DEVICES, FORWARD, KERNEL
from layerlottery.planning.text import human_time

CONFIG = {
    "datasets": {"digits": {"source": "digits"}},
    "studies": [
        {
            "name": "one",
            "datasets": ["digits"],
            "networks": ["resnet14"],
            "seeds": [0],
            "criteria": ["l1"],
            "removed": [],
        }
    ],
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    return path


def plan(*words):
    ran = CliRunner().invoke(cli, ["plan", *words], standalone_mode=False)
    if ran.exception:
        raise ran.exception
    return ran.output


def found(*words):
    return json.loads(plan("--json", *words))


def test_a_small_network_waits_for_its_kernels_whatever_the_gpu(config):
    # 13 convolutions of 3x3 and 2 projections, each with its BatchNorm, a ReLU in the stem, 4 identities for shortcuts,
    # a classifier: 36 modules without parts, whose arithmetic on 8x8 pixels is nothing to any of these
    step = 36 * (FORWARD + BACKWARD) * KERNEL
    for name in ("A100", "H100"):
        seconds = found("--device-rates", name)["stages"]["train"]["whole"]["seconds"]
        steps = 200 * 1437 / 128
        tests = 200 * 360 / 360 * 36 * FORWARD * KERNEL
        # the start of the job, of the stage and of the first step aside
        assert seconds - 14 == pytest.approx(steps * step + tests, rel=0.01)


def test_energy_is_the_gpus_design_power(config):
    result = found("--device-rates", "T4")
    stage = result["stages"]["train"]["whole"]
    assert stage["kwh"] == pytest.approx(stage["seconds"] / 3600 * 70 / 1000)


def test_carbon_intensity_and_results_folder_can_be_given(config):
    words = ["--device-rates", "A100", "--config", "energy={carbon_intensity: 0.5}", "--results", "elsewhere"]
    result = found(*words)
    assert result["results"] == "elsewhere"
    assert result["kg_co2"] == pytest.approx(0.5 * result["total"]["left"]["kwh"])


def test_the_table_says_where_its_figures_are_from(config):
    text = plan("--device-rates", "A100", "--cores", "2")
    assert "with 2 GPUs" in text
    assert "not measured" in text
    assert "Snakemake also compares parameters" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device-rates", "A1"], f"--device-rates: found 'A1'; allowed are {', '.join(DEVICES)}"),
        (["--configfile", "none.yaml"], "none.yaml"),
        (["--config", "training={epochs: 0}"], "training.epochs"),
        (["--config", "nonsense"], "config.yaml: "),
        (["--configfile", "config.yaml", "--configfile", "config.yaml"], "--configfile: found several"),
    ],
)
def test_a_mistake_is_one_line(config, words, message):
    with pytest.raises((LayerLotteryError, OSError)) as raised:
        plan(*words)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(("seconds", "text"), [(48, "48 s"), (200, "3 min"), (5400, "1.5 h"), (172_800, "2.0 days")])
def test_times_are_short_texts(seconds, text):
    assert human_time(seconds) == text
