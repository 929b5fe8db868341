"""One training over several processes against the same one by a single process; kills, signals and lost processes."""

import shutil
import signal
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import torch
from tests.chaos.moments import Moment, ran, result

from layerlottery.config.data import Digits
from layerlottery.config.networks import NetworkSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.data.prepare import prepare
from layerlottery.errors import LayerLotteryError, Suspended
from layerlottery.networks.initialize import initialize_network
from layerlottery.store.artifacts import read_facts, read_tensors
from layerlottery.training import together
from layerlottery.training.loop import Trainer
from layerlottery.training.together import HELPER
from layerlottery.training.train import train

CPU, ROOT = torch.device("cpu"), Path(__file__).parents[3]
# batches of 53: the last of an epoch has two images, fewer than three processes
SETTINGS = TrainingSettings(
    epochs=2, batch_size=53, learning_rate=0.05, schedule="cosine", crop=1, rand_augment=1, weight_decay=5e-4,
    label_smoothing=0.1, clip_norm=1.0, ema_decay=0.9, precision="float32",
)  # fmt: skip
RECIPE = [f"--{name}={value}" for name, value in {"epochs": 2, "batch-size": 53, "crop": 1}.items()]


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    prepare(Digits(source="digits", train_size=108, test_size=31), folder)
    initialize_network(folder / "facts.json", folder / "initial.safetensors", NetworkSettings(depth=8, width=4), seed=0)
    return folder


def run(ready, output, *, processes, settings=SETTINGS, **options):
    files = ready / "initial.safetensors", ready / "facts.json", output
    return train(*files, settings, seed=0, device=CPU, others=[CPU] * (processes - 1), **options)


@pytest.fixture(scope="module")
def undisturbed(ready, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run(ready, folder, processes=2)
    return folder


def helpers():
    return [one for one in psutil.Process().children(recursive=True) if HELPER in one.cmdline()]


def helpers_of_anyone(folder):
    """Those of a training whose checkpoint is in this folder, whoever started them."""
    lines = [" ".join(one.info["cmdline"] or ()) for one in psutil.process_iter(["cmdline"])]
    return [line for line in lines if HELPER in line and str(folder) in line]


def equal_within_rounding(one, several):
    first, second = (pq.read_table(folder / "curve.parquet").to_pylist() for folder in (one, several))
    for row, other in zip(first, second, strict=True):
        assert row["learning_rate"] == other["learning_rate"]
        for name in ("train_loss", "test_loss"):
            assert other[name] == pytest.approx(row[name], rel=1e-5)
        for name in ("train_accuracy", "test_accuracy"):
            assert other[name] == row[name]
    weights, others = (read_tensors(folder / "weights.safetensors")[0] for folder in (one, several))
    assert weights.keys() == others.keys()
    for name, values in weights.items():
        np.testing.assert_allclose(others[name], values, rtol=1e-3, atol=2e-5, err_msg=name)


def test_two_processes_train_as_one_does(ready, undisturbed, tmp_path):
    run(ready, tmp_path, processes=1)
    equal_within_rounding(tmp_path, undisturbed)
    # and they did it together: rounding differs, the facts say so, and one reading counts both
    assert result(tmp_path) != result(undisturbed)
    alone, together = (read_facts(folder / "training.json") for folder in (tmp_path, undisturbed))
    assert together["device"] == f"2 × {alone['device']}"
    assert together["config_hash"] == alone["config_hash"]
    assert len(together["segments"]) == 1
    assert helpers() == []


@pytest.mark.slow
def test_statistics_of_groups_are_the_same_over_any_number_of_processes(ready, undisturbed, tmp_path):
    # 53 images: groups of 20, 20 and 13, and a last batch of one group, which both compute
    groups = SETTINGS.model_copy(update={"norm_images": 20})
    for processes in (1, 2):
        run(ready, tmp_path / str(processes), processes=processes, settings=groups)
    equal_within_rounding(tmp_path / "1", tmp_path / "2")
    losses = [
        pq.read_table(folder / "curve.parquet")["train_loss"][0].as_py() for folder in (tmp_path / "1", undisturbed)
    ]
    assert abs(losses[0] - losses[1]) > 1e-3


@pytest.mark.slow
def test_a_batch_of_fewer_images_than_processes_is_computed_by_all(ready, tmp_path):
    for processes in (1, 3):
        run(ready, tmp_path / str(processes), processes=processes)
    equal_within_rounding(tmp_path / "1", tmp_path / "3")


def test_told_to_stop_all_stop_after_the_same_batch_and_go_on(ready, undisturbed, tmp_path, monkeypatch):
    checkpoint, step, done = tmp_path / "checkpoint.safetensors", Trainer._step, []

    def interrupting_step(self, *arguments):
        if len(done) == 3:
            signal.raise_signal(signal.SIGTERM)
        done.append(1)
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", interrupting_step)
    with pytest.raises(Suspended):
        run(ready, tmp_path, processes=2, checkpoint=checkpoint)
    assert len(done) == 4
    assert helpers() == []
    monkeypatch.setattr(Trainer, "_step", step)
    facts = run(ready, tmp_path, processes=2, checkpoint=checkpoint)
    assert result(tmp_path) == result(undisturbed)
    assert len(facts["segments"]) == 2


def test_a_process_that_dies_ends_the_training_with_one_line(ready, tmp_path, monkeypatch):
    checkpoint, step, done = tmp_path / "checkpoint.safetensors", Trainer._step, []

    def killing_step(self, *arguments):
        done.append(1)
        if len(done) == 2:
            for one in helpers():
                one.kill()
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", killing_step)
    with pytest.raises(LayerLotteryError, match="process 2 of this training was killed by signal 9"):
        run(ready, tmp_path / "output", processes=2, checkpoint=checkpoint, checkpoint_seconds=0)
    assert checkpoint.exists()
    assert not (tmp_path / "output").exists()
    assert helpers() == []


def test_a_process_that_cannot_begin_is_named_with_its_reason(ready, tmp_path, monkeypatch):
    here = tmp_path / "ready"
    shutil.copytree(ready, here)
    start = together._Helpers.start

    def start_late(self, *arguments):
        (here / "facts.json").unlink()
        start(self, *arguments)

    monkeypatch.setattr(together._Helpers, "start", start_late)
    with pytest.raises(LayerLotteryError, match=r"process 2 of this training ended with status 1: .*facts\.json"):
        run(here, tmp_path / "output", processes=2)
    assert helpers() == []


def test_it_is_not_compiled(ready, tmp_path):
    always = SETTINGS.model_copy(update={"compile": "always"})
    with pytest.raises(LayerLotteryError, match="compile: found always; allowed with several GPUs per training: auto"):
        run(ready, tmp_path, processes=2, settings=always)


def command(ready, folder):
    files = ["--weights", ready / "initial.safetensors", "--data", ready / "facts.json", "--output", folder / "output"]
    state = ["--checkpoint", folder / "run.safetensors", "--checkpoint-seconds", 0, "--log", folder / "log"]
    return ["train", *files, *state, *RECIPE, "--gpus", 2, "--device", "cpu"]


def live(words, *moment):
    return ran(words, Moment(*moment) if moment else None)


@pytest.mark.slow
def test_killed_or_told_to_stop_it_goes_on_bit_for_bit(ready, tmp_path, monkeypatch):
    calm, struck, meeting = (tmp_path / name for name in ("calm", "struck", "meeting"))
    meeting.mkdir()
    monkeypatch.setenv("TMPDIR", str(meeting))
    assert live(command(ready, calm)).returncode == 0
    assert live(command(ready, struck), signal.SIGKILL, "Trainer._step", 2).returncode == -signal.SIGKILL
    told = live(command(ready, struck), signal.SIGTERM, "Trainer._step")
    assert told.returncode == 75
    assert told.stderr.splitlines()[-1].startswith("layerlottery: interrupted: the checkpoint is saved")
    assert live(command(ready, struck), signal.SIGKILL, "Trainer.evaluate", 1).returncode == -signal.SIGKILL
    assert live(command(ready, struck)).returncode == 0
    assert "resumed after 0 epochs and 3 batches" in (struck / "log").read_text()
    assert result(struck / "output") == result(calm / "output")
    assert helpers_of_anyone(struck) == []
    # where they met
    assert list(meeting.glob("layerlottery-*")) == []
