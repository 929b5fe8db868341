"""The local profile: how many jobs this machine's GPUs take, and which rules ask for one."""

import re
from pathlib import Path

import pytest
import yte

from layerlottery.cli.main import cli
from layerlottery.config.choices import GPUS as GPUS_PER_TRAINING
from layerlottery.errors import LayerLotteryError
from layerlottery.runtime import lease
from layerlottery.runtime.lease import gpu_jobs

ROOT = Path(__file__).parents[3]


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """An NVIDIA driver, as far as its device file tells."""
    monkeypatch.delenv("LAYERLOTTERY_DEVICE", raising=False)
    monkeypatch.delenv("LAYERLOTTERY_JOBS_PER_GPU", raising=False)
    monkeypatch.setattr(lease, "GPU_DRIVER", tmp_path / "driver")
    (tmp_path / "driver").touch()
    return tmp_path / "driver"


def test_the_profile_counts_the_jobs_that_gpus_take(driver, monkeypatch):
    monkeypatch.setattr(lease, "COUNT", "print(2)")
    assert gpu_jobs() == 2
    monkeypatch.setenv("LAYERLOTTERY_JOBS_PER_GPU", "3")
    assert gpu_jobs() == 6
    monkeypatch.setenv("LAYERLOTTERY_DEVICE", "cpu")
    assert gpu_jobs() == 0


def test_what_torch_may_not_see_is_not_counted(driver, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_jobs() == 0


def test_without_a_driver_nobody_is_asked(driver, monkeypatch):
    driver.unlink()
    monkeypatch.setattr(lease, "COUNT", "print(2)")
    assert gpu_jobs() == 0


def test_gpus_that_cannot_be_counted_are_one_line(driver, monkeypatch):
    monkeypatch.setattr(lease, "COUNT", "import sys; sys.exit('first\\nthe driver is too old')")
    with pytest.raises(LayerLotteryError, match=r"^torch can't count the GPUs \(the driver is too old\); "):
        gpu_jobs()


def profile(monkeypatch, gpus):
    """The local profile as Snakemake reads it on a machine whose GPUs take so many jobs."""
    monkeypatch.setattr(lease, "gpu_jobs", lambda: gpus)
    text = (ROOT / "workflow" / "profiles" / "local" / "profile.yaml").read_text()
    return yte.process_yaml(text, require_use_yte=True)


def rules_with_a_device():
    """The rules whose command has the option --device, heirs of such rules included."""
    text = "\n".join(path.read_text() for path in sorted((ROOT / "workflow" / "rules").glob("*.smk")))
    commands = {}
    for name, body in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", text, flags=re.M | re.S):
        commands[name] = re.search(r'"(?:exec )?layerlottery (\w+)', body)[1]
    for parent, heir in re.findall(r"^use rule (\w+) as (\w+) with:", text, flags=re.M):
        commands[heir] = commands[parent]
    options = {name: {option.name for option in command.params} for name, command in cli.commands.items()}
    return {rule for rule, command in commands.items() if "device" in options[command]}


def test_every_rule_that_computes_on_a_gpu_asks_for_one_or_for_what_a_training_has(monkeypatch):
    read = profile(monkeypatch, 2)
    assert read["resources"] == {"gpu": 2}
    trainings = dict.fromkeys(("train_dense", "train_ticket", "rewind"), f"${GPUS_PER_TRAINING}")
    assert {rule: asked["gpu"] for rule, asked in read["set-resources"].items()} == dict.fromkeys(
        rules_with_a_device(), 1
    ) | trainings
    assert {"train_ticket", "score_weights"} <= rules_with_a_device()


def test_without_a_gpu_nothing_is_limited(monkeypatch):
    read = profile(monkeypatch, 0)
    assert read["cores"] == "all"
    assert not {"resources", "set-resources"} & set(read)
