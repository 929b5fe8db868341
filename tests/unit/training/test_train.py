"""The training stage: it learns, tickets are paired with their dense network, and it resumes bit for bit."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from layerlottery import paths
from layerlottery.config.data import Digits
from layerlottery.config.networks import NetworkSettings, WideResNetSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.data.batches import epoch_order
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import PreparedSet
from layerlottery.errors import Interrupted, LayerLotteryError, Suspended
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.weights import load_network
from layerlottery.store.artifacts import read_facts, read_tensors, write_facts, write_tensors
from layerlottery.training import train as stage
from layerlottery.training.loop import Trainer
from layerlottery.training.train import train

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(
    epochs=4, batch_size=25, learning_rate=0.2, schedule="onecycle", crop=1, flip=True, weight_decay=5e-4
)


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    prepare(Digits(source="digits", train_size=320, test_size=100), folder)
    initialize_network(folder / "facts.json", folder / "initial.safetensors", NetworkSettings(depth=8, width=4), seed=0)
    return folder


@pytest.fixture(scope="module")
def undisturbed(ready, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed")
    run(ready, output)
    return output


def run(ready, output, settings=SETTINGS, **options):
    options = {"seed": 0, "device": CPU} | options
    return train(ready / "initial.safetensors", ready / "facts.json", output, settings, **options)


def test_a_network_at_a_tickets_cost_trains_for_its_share_of_the_epochs(ready, tmp_path):
    tensors, held = read_tensors(ready / "initial.safetensors")
    shorter = tmp_path / "ready"
    shutil.copytree(ready, shorter)
    facts = {"architecture": held["architecture"], "training_share": 0.55}
    write_tensors(shorter / "initial.safetensors", tensors, facts, config_hash="0" * 64, inputs={})
    recipe = {"batch_size": 80, "learning_rate": 0.1, "schedule": "step", "crop": 0}
    asked = TrainingSettings(epochs=4, milestones=[2, 3], **recipe)
    found = run(shorter, tmp_path / "found", asked)
    assert (found["epochs"], found["training_settings"]["milestones"]) == (2, [1, 2])
    # the same as a training that asks for so much from the beginning
    run(ready, tmp_path / "plain", TrainingSettings(epochs=2, milestones=[1, 2], **recipe))
    assert timeless(tmp_path / "found") == timeless(tmp_path / "plain")
    assert [row["learning_rate"] for row in timeless(tmp_path / "found")] == pytest.approx([0.1, 0.01])


def timeless(output):
    """Everything in the learning curve but the seconds."""
    return pq.read_table(output / "curve.parquet").drop(["seconds"]).to_pylist()


def test_it_learns_and_the_last_epoch_counts(ready, undisturbed):
    facts = read_facts(undisturbed / "training.json")
    curve = pq.read_table(undisturbed / "curve.parquet").to_pylist()
    assert [row["epoch"] for row in curve] == [1, 2, 3, 4]
    assert curve[-1]["train_loss"] < 0.8 * curve[0]["train_loss"]
    assert facts["accuracy"] == curve[-1]["test_accuracy"] > 30
    # the accuracy again, by the plainest means
    model, _ = load_network(undisturbed / "weights.safetensors")
    prepared = PreparedSet.open(ready / "facts.json")
    test = prepared.split("test")
    images = (torch.from_numpy(np.array(test.images)).float() / 255 - prepared.mean[0]) / prepared.std[0]
    with torch.no_grad():
        hits = model.eval()(images).argmax(1) == torch.from_numpy(np.array(test.labels))
    assert facts["accuracy"] == pytest.approx(100 * hits.float().mean().item())


def test_facts_are_complete(undisturbed):
    facts = read_facts(undisturbed / "training.json")
    assert facts["images_per_second"] == pytest.approx(4 * 320 / facts["train_seconds"])
    assert facts["segments"][0]["kwh"] > 0
    assert facts["precision"] in ("float32", "bfloat16")
    assert len(facts["config_hash"]) == 64


def test_the_same_call_gives_the_same_bits(ready, undisturbed, tmp_path):
    run(ready, tmp_path)
    first, again = (read_tensors(folder / "weights.safetensors")[1] for folder in (undisturbed, tmp_path))
    assert first["content"] == again["content"]
    assert timeless(undisturbed) == timeless(tmp_path)


def test_another_seed_gives_another_order(ready, undisturbed, tmp_path):
    run(ready, tmp_path, seed=1)
    assert timeless(undisturbed) != timeless(tmp_path)


@pytest.mark.parametrize("stop_at", [0, 4, 12, 13, 25, 51])
def test_interrupted_anywhere_it_resumes_bit_for_bit(ready, undisturbed, tmp_path, monkeypatch, stop_at):
    checkpoint = tmp_path / "checkpoint.safetensors"
    step, done = Trainer._step, []

    def interrupting_step(self, *arguments):
        if len(done) == stop_at:
            signal.raise_signal(signal.SIGTERM)
        done.append(1)
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", interrupting_step)
    with pytest.raises(Interrupted):
        run(ready, tmp_path, checkpoint=checkpoint)
    assert checkpoint.exists()
    assert not (tmp_path / "weights.safetensors").exists()
    monkeypatch.setattr(Trainer, "_step", step)
    facts = run(ready, tmp_path, checkpoint=checkpoint)
    first, again = (read_tensors(folder / "weights.safetensors")[1] for folder in (undisturbed, tmp_path))
    assert first["content"] == again["content"]
    assert timeless(undisturbed) == timeless(tmp_path)
    # the energy of both pieces counts, and the checkpoint has gone
    assert len(facts["segments"]) == 2
    assert not checkpoint.exists()


def test_a_foreign_or_broken_checkpoint_means_a_fresh_start(ready, undisturbed, tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint.safetensors"
    calls = []

    def stop_later(row):
        calls.append(row)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)

    other = SETTINGS.model_copy(update={"learning_rate": 0.05})
    with pytest.raises(Interrupted):
        run(ready, tmp_path, other, checkpoint=checkpoint, on_epoch=stop_later)
    run(ready, tmp_path, checkpoint=checkpoint)
    assert timeless(undisturbed) == timeless(tmp_path)
    checkpoint.write_bytes(b"not a checkpoint")
    run(ready, tmp_path, checkpoint=checkpoint)
    assert timeless(undisturbed) == timeless(tmp_path)


def test_a_checkpoint_saved_within_an_epoch_resumes_bit_for_bit(ready, undisturbed, tmp_path, monkeypatch):
    checkpoint, kept = tmp_path / "checkpoint.safetensors", tmp_path / "kept.safetensors"
    step, done = Trainer._step, []

    class Killed(BaseException):
        pass

    def killing_step(self, *arguments):
        if len(done) == 17:
            # what a SIGKILL leaves: nothing is saved after this
            shutil.copy(checkpoint, kept)
            raise Killed
        done.append(1)
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "_step", killing_step)
    with pytest.raises(Killed):
        run(ready, tmp_path, checkpoint=checkpoint, checkpoint_seconds=0.0)
    monkeypatch.setattr(Trainer, "_step", step)
    facts = read_tensors(kept)[1]
    # batch 17 of 13 an epoch
    assert (facts["epoch"], facts["batch"]) == (1, 4)
    kept.replace(checkpoint)
    run(ready, tmp_path, checkpoint=checkpoint)
    assert timeless(undisturbed) == timeless(tmp_path)


def test_what_a_killed_segment_spent_is_counted(ready, undisturbed, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    journal = Path(paths.training_journal(str(checkpoint)))
    fingerprint = read_facts(undisturbed / "training.json")["config_hash"]
    lost = {"kwh": 1.0, "seconds": 2.0}
    write_facts(journal, {"segments": [lost]}, config_hash=fingerprint)
    facts = run(ready, tmp_path, checkpoint=checkpoint)
    assert (len(facts["segments"]), facts["segments"][0]) == (2, lost)
    assert not journal.exists()
    write_facts(journal, {"segments": [lost]}, config_hash="another configuration's")
    assert len(run(ready, tmp_path, checkpoint=checkpoint)["segments"]) == 1


def test_where_and_when_a_segment_ran_is_kept(undisturbed):
    (segment,) = read_facts(undisturbed / "training.json")["segments"]
    assert segment["host"]
    assert segment["started"] <= segment["ended"]
    assert segment["slurm_job_id"] is None


def test_what_ended_unnoticed_is_taken_over(ready, undisturbed, tmp_path, monkeypatch):
    checkpoint = tmp_path / "run.safetensors"
    waiting = tmp_path / "run" / "finished"
    shutil.copytree(undisturbed, waiting)
    before = (undisturbed / "training.json").read_bytes()
    monkeypatch.setattr(Trainer, "run", lambda *arguments: pytest.fail("trained again"))
    run(ready, tmp_path / "output", checkpoint=checkpoint)
    assert (tmp_path / "output" / "training.json").read_bytes() == before
    assert not waiting.exists()


def test_in_a_slurm_job_results_survive_a_snakemake_that_removes_them(ready, undisturbed, tmp_path, monkeypatch):
    # SLURM answers nothing, even where one runs
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "none"))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setattr("layerlottery.runtime.requeue.PATIENCE", 1)
    checkpoint, output = tmp_path / "run.safetensors", tmp_path / "output"
    run(ready, output, checkpoint=checkpoint)
    before = (output / "training.json").read_bytes()
    for _ in range(2):
        shutil.rmtree(output)
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "run", lambda *arguments: pytest.fail("trained again"))
            run(ready, output, checkpoint=checkpoint)
        assert (output / "training.json").read_bytes() == before
    assert timeless(output) == timeless(undisturbed)


def test_a_training_whose_job_is_past_its_limit_is_done_again_by_taking_over(ready, tmp_path, monkeypatch):
    checkpoint = tmp_path / "run.safetensors"
    monkeypatch.setattr("layerlottery.training.ended.overtime", lambda: True)
    with pytest.raises(Suspended, match="the same command takes them over"):
        run(ready, tmp_path, checkpoint=checkpoint)
    monkeypatch.setattr("layerlottery.training.ended.overtime", lambda: False)
    monkeypatch.setattr(Trainer, "run", lambda *arguments: pytest.fail("trained again"))
    run(ready, tmp_path, checkpoint=checkpoint)
    assert not (tmp_path / "run" / "finished").exists()


@pytest.mark.parametrize("spoil", ["damaged", "foreign", "incomplete"])
def test_what_ended_unnoticed_must_be_whole_and_of_this_training(ready, undisturbed, tmp_path, spoil):
    waiting = tmp_path / "run" / "finished"
    shutil.copytree(undisturbed, waiting)
    if spoil == "damaged":
        (waiting / "curve.parquet").write_bytes((waiting / "curve.parquet").read_bytes()[:-1] + b"x")
    elif spoil == "incomplete":
        (waiting / "weights.safetensors").unlink()
    seed = int(spoil == "foreign")
    facts = run(ready, tmp_path / "output", seed=seed, checkpoint=tmp_path / "run.safetensors")
    assert facts["segments"][0]["started"] >= read_facts(undisturbed / "training.json")["segments"][0]["ended"]
    assert not waiting.exists()


def test_signals_are_given_back(ready, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    run(ready, tmp_path, SETTINGS.model_copy(update={"epochs": 1}))
    assert signal.getsignal(signal.SIGTERM) is before


def test_dense_network_and_ticket_see_the_same_batches(ready, tmp_path, monkeypatch):
    from layerlottery.networks.blocks import remove_blocks
    from layerlottery.networks.weights import save_network

    folder = tmp_path
    data = ready / "facts.json"
    initialize_network(data, folder / "dense.safetensors", NetworkSettings(depth=20, width=2), seed=0)
    dense, facts = load_network(folder / "dense.safetensors")
    small = remove_blocks(dense, ["stage2.1"])
    architecture = facts["architecture"] | {"removed_blocks": ["stage2.1"]}
    save_network(folder / "ticket.safetensors", small, {"architecture": architecture}, config_hash="made")
    seen = {"dense": [], "ticket": []}
    step = Trainer._step
    for name, batches in seen.items():

        def recording_step(self, batch, *arguments, batches=batches):
            batches.append(batch[0].clone())
            return step(self, batch, *arguments)

        monkeypatch.setattr(Trainer, "_step", recording_step)
        short = SETTINGS.model_copy(update={"epochs": 2})
        train(folder / f"{name}.safetensors", data, folder / name, short, seed=3, device=CPU)
    assert all(map(torch.equal, seen["dense"], seen["ticket"]))
    images = torch.from_numpy(PreparedSet.open(data).split("train").images)
    assert torch.equal(torch.cat(seen["dense"][13:]), images[epoch_order(320, seed=3, epoch=1)])


def test_a_diverging_training_says_so(ready, tmp_path):
    wild = SETTINGS.model_copy(update={"learning_rate": 1e18, "schedule": "step"})
    with pytest.raises(LayerLotteryError, match=r"training\.learning_rate: the loss is (nan|inf) in epoch \d; found"):
        run(ready, tmp_path, wild)
    assert not (tmp_path / "weights.safetensors").exists()


def test_bfloat16_is_recorded_and_learns_as_well(ready, tmp_path):
    # at the peak rate of the other tests rounding of float32 alone moves the last loss by as much as is allowed here
    gentle = SETTINGS.model_copy(update={"learning_rate": 0.05})
    losses = []
    for precision in ("bfloat16", "float32"):
        facts = run(ready, tmp_path, gentle.model_copy(update={"precision": precision}))
        assert facts["precision"] == precision
        losses.append(pq.read_table(tmp_path / "curve.parquet")["train_loss"][-1].as_py())
    assert losses[0] == pytest.approx(losses[1], abs=0.15)


def test_threads_do_not_enter_the_hash(ready, undisturbed, tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(ready, tmp_path)
    finally:
        torch.set_num_threads(before)
    hashes = [
        json.loads((folder / "training.json").read_text())["artifact"]["config_hash"]
        for folder in (undisturbed, tmp_path)
    ]
    assert hashes[0] == hashes[1]


def test_the_loop_takes_the_stage_s_energy_meter(ready, tmp_path, monkeypatch):
    class Broken:
        def __init__(self, **options):
            pass

        def start(self):
            raise LayerLotteryError("energy: nothing can be measured")

    monkeypatch.setattr(stage, "EnergyMeter", Broken)
    with pytest.raises(LayerLotteryError, match="energy"):
        run(ready, tmp_path)


def test_networks_that_draw_numbers_train_to_the_same_bits(tmp_path, ready):
    curves = {}
    for dropout, number in ((0.5, 1), (0.5, 2), (0.0, 1)):
        network = WideResNetSettings(family="wide_resnet", depth=10, widen=1, dropout=dropout)
        folder = tmp_path / f"{dropout} {number}"
        initialize_network(ready / "facts.json", folder / "initial.safetensors", network, seed=0)
        torch.manual_seed(number)
        chosen = SETTINGS.model_copy(update={"epochs": 1, "batch_size": 160})
        train(folder / "initial.safetensors", ready / "facts.json", folder, chosen, seed=0, device=CPU)
        curves[dropout, number] = timeless(folder)
    assert curves[0.5, 1] == curves[0.5, 2] != curves[0.0, 1]
