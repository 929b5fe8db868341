"""The type that a training computes in: what auto means, that a resumed training keeps it, and what is said of it."""

import logging
import signal

import pyarrow.parquet as pq
import pytest
import torch

from layerlottery.config.data import Digits
from layerlottery.config.networks import NetworkSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.data.prepare import prepare
from layerlottery.errors import Suspended
from layerlottery.networks.initialize import initialize_network
from layerlottery.store.artifacts import read_facts, read_tensors, write_tensors
from layerlottery.training import precision
from layerlottery.training.checkpoint import Progress
from layerlottery.training.loop import Trainer
from layerlottery.training.precision import products, settle, slowdown
from layerlottery.training.train import train

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(epochs=2, batch_size=50, learning_rate=0.05, schedule="onecycle", crop=1, flip=False)


def processor(monkeypatch, *, faster, amx=False):
    """This process's processor is one that auto takes bfloat16 on, or not."""
    monkeypatch.setattr(precision, "prefers_bfloat16", lambda: faster)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx})


@pytest.mark.parametrize("faster", [True, False])
def test_auto_follows_the_processor(monkeypatch, faster):
    processor(monkeypatch, faster=faster)
    assert products(TrainingSettings(), CPU) == ("bfloat16" if faster else "float32")
    assert products(TrainingSettings(precision="float32"), CPU) == "float32"
    assert products(TrainingSettings(precision="bfloat16"), CPU) == "bfloat16"


@pytest.mark.parametrize("native", [True, False])
def test_auto_follows_the_gpu(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    processor(monkeypatch, faster=not native)
    assert products(TrainingSettings(), torch.device("cuda")) == ("bfloat16" if native else "float32")


def test_the_record_says_what_was_rounded():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    found = {
        asked: [products(TrainingSettings(precision=asked), device) for device in (cpu, gpu)]
        for asked in ("float32", "tf32", "bfloat16")
    }
    # a processor rounds no factor to TF32
    expected = {"float32": ["float32"] * 2, "tf32": ["float32", "tf32"], "bfloat16": ["bfloat16"] * 2}
    assert found == expected


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    prepare(Digits(source="digits", train_size=200, test_size=50), folder)
    initialize_network(folder / "facts.json", folder / "initial.safetensors", NetworkSettings(depth=8, width=2), seed=0)
    return folder


def run(ready, output, **options):
    options = {"settings": SETTINGS, "seed": 0, "device": CPU} | options
    train(ready / "initial.safetensors", ready / "facts.json", output, **options)
    curve = pq.read_table(output / "curve.parquet").drop(["seconds"]).to_pylist()
    return read_facts(output / "training.json")["precision"], curve


def stopped(ready, output, monkeypatch, *, after):
    """A training that is told to stop after so many batches; its checkpoint."""
    checkpoint, step = output / "training.safetensors", Trainer._step

    def counted(trainer, *given):
        *_, epoch, number = given
        if epoch * 4 + number + 1 == after:
            signal.raise_signal(signal.SIGTERM)
        return step(trainer, *given)

    monkeypatch.setattr(Trainer, "_step", counted)
    with pytest.raises(Suspended):
        run(ready, output, checkpoint=checkpoint)
    monkeypatch.setattr(Trainer, "_step", step)
    return checkpoint


@pytest.mark.parametrize("began", ["bfloat16", "float32"])
@pytest.mark.parametrize("after", [2, 4])
def test_a_training_ends_in_the_type_it_began_in(ready, tmp_path, monkeypatch, caplog, began, after):
    # begun on one kind of processor, and resumed on another
    processor(monkeypatch, faster=began == "bfloat16")
    undisturbed = run(ready, tmp_path / "undisturbed")
    checkpoint = stopped(ready, tmp_path / "resumed", monkeypatch, after=after)
    processor(monkeypatch, faster=began != "bfloat16")
    monkeypatch.setattr(precision, "slowdown", lambda: 8.0)
    with caplog.at_level(logging.INFO):
        resumed = run(ready, tmp_path / "resumed", checkpoint=checkpoint)
    assert resumed == undisturbed
    assert resumed[0] == began
    assert f"this training began in {began} and goes on in it" in caplog.text
    assert ("8.0 times as long" in caplog.text) is (began == "bfloat16")
    other, _ = run(ready, tmp_path / "other")
    assert other != began


@pytest.mark.parametrize(
    ("amx", "faster", "expected"),
    [(False, True, "float32"), (True, True, "bfloat16"), (False, False, "float32")],
)
def test_a_checkpoint_of_before_goes_on_as_auto_was_then(ready, tmp_path, monkeypatch, amx, faster, expected):
    processor(monkeypatch, faster=False)
    checkpoint = stopped(ready, tmp_path, monkeypatch, after=6)
    arrays, facts = read_tensors(checkpoint)
    assert facts.pop("precision") == "float32"
    made_by = facts.pop("config_hash")
    write_tensors(checkpoint, arrays, facts, config_hash=made_by)
    processor(monkeypatch, faster=faster, amx=amx)
    assert run(ready, tmp_path, checkpoint=checkpoint)[0] == expected


def test_a_rewound_ticket_begins_in_the_machine_s_type(monkeypatch):
    processor(monkeypatch, faster=True, amx=False)
    # its first epoch is not 0, and yet nothing of it was trained
    progress = Progress(epoch=3)
    assert settle(progress, SETTINGS, CPU).fast_dtype == torch.bfloat16
    assert progress.precision == "bfloat16"


def test_what_was_asked_for_is_not_overruled_by_a_checkpoint(monkeypatch):
    processor(monkeypatch, faster=True)
    progress = Progress(batch=2, precision="bfloat16")
    settle(progress, SETTINGS.model_copy(update={"precision": "float32"}), CPU)
    assert progress.precision == "float32"


def test_slow_bfloat16_is_said_with_what_was_measured(monkeypatch, caplog):
    asked = SETTINGS.model_copy(update={"precision": "bfloat16"})
    monkeypatch.setattr(precision, "slowdown", lambda: 9.96)
    processor(monkeypatch, faster=False)
    settle(Progress(), asked, CPU)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "training.precision: found bfloat16, which takes 10.0 times as long" in record.getMessage()


@pytest.mark.parametrize(("faster", "ratio"), [(True, 9.0), (False, 0.8)])
def test_fast_bfloat16_is_no_news(monkeypatch, caplog, faster, ratio):
    asked = SETTINGS.model_copy(update={"precision": "bfloat16"})
    monkeypatch.setattr(precision, "slowdown", lambda: ratio)
    processor(monkeypatch, faster=faster)
    settle(Progress(), asked, CPU)
    assert not caplog.records


def test_the_measurement_changes_no_random_state_and_no_mode():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert slowdown() > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.is_autocast_enabled("cpu")
