"""Rewinding: θi of the dense network bit for bit, and the epochs after i as the dense network saw them."""

import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from layerlottery import paths
from layerlottery.config.criteria import CriterionSettings
from layerlottery.config.data import Digits
from layerlottery.config.networks import NetworkSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.criteria.score import score
from layerlottery.data.prepare import prepare
from layerlottery.errors import Interrupted, LayerLotteryError
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.prune import prune
from layerlottery.networks.weights import load_network
from layerlottery.store.artifacts import read_facts, read_weights
from layerlottery.training.loop import Trainer
from layerlottery.training.rewind import rewind
from layerlottery.training.train import train

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(
    epochs=5, batch_size=40, learning_rate=0.1, schedule="step", milestones=[2, 4], crop=1, flip=False
)


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A dense network, trained with the weights after epochs 2 and 3 kept."""
    folder = tmp_path_factory.mktemp("ready")
    prepare(Digits(source="digits", train_size=160, test_size=50), folder)
    data, initial = folder / "facts.json", folder / "initial.safetensors"
    initialize_network(data, initial, NetworkSettings(depth=20, width=2), seed=0)
    train(initial, data, folder, SETTINGS, seed=0, device=CPU, keep=[2, 3], kept=folder / "kept")
    return folder


def rewound(ready, output, *, epoch, **options):
    options = {"seed": 0, "device": CPU} | options
    rewind(ready / "initial.safetensors", ready / "facts.json", output, SETTINGS, epoch=epoch, **options)
    return read_weights(output)


def equal(first, second):
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_kept_weights_are_those_of_a_training_that_ends_there(ready, tmp_path):
    # the same recipe by the plainest means: a schedule that does not depend on the number of epochs, cut after two
    short = SETTINGS.model_copy(update={"epochs": 2})
    train(ready / "initial.safetensors", ready / "facts.json", tmp_path, short, seed=0, device=CPU)
    kept, _ = rewound(ready, tmp_path / "kept.safetensors", epoch=2, kept=ready / "kept")
    assert equal(kept, read_weights(tmp_path / "weights.safetensors")[0])
    assert not equal(kept, rewound(ready, tmp_path / "other.safetensors", epoch=3, kept=ready / "kept")[0])


def test_what_was_not_kept_is_trained_again_to_the_same_bits(ready, tmp_path):
    kept = rewound(ready, tmp_path / "kept.safetensors", epoch=3, kept=ready / "kept")
    again = rewound(ready, tmp_path / "again.safetensors", epoch=3, kept=tmp_path / "nothing")
    assert equal(kept[0], again[0])
    assert kept[1] == again[1]
    assert not (tmp_path / "nothing").exists()


def test_the_last_epoch_is_the_trained_network(ready, tmp_path):
    weights, _ = rewound(ready, tmp_path / "last.safetensors", epoch=5)
    assert equal(weights, read_weights(ready / "weights.safetensors")[0])


@pytest.mark.parametrize("spoil", ["foreign", "broken"])
def test_foreign_or_broken_kept_weights_are_not_used(ready, tmp_path, spoil):
    kept = tmp_path / "kept"
    kept.mkdir()
    source = ready / "initial.safetensors"
    content = source.read_bytes()
    Path(paths.kept_weights(str(kept), "2")).write_bytes(content if spoil == "foreign" else content[:-1] + b"x")
    weights, _ = rewound(ready, tmp_path / "out.safetensors", epoch=2, kept=kept)
    assert equal(weights, rewound(ready, tmp_path / "right.safetensors", epoch=2, kept=ready / "kept")[0])


def test_an_interrupted_rewind_goes_on(ready, tmp_path, monkeypatch):
    step, done = Trainer._step, []

    def interrupting_step(self, *arguments):
        done.append(1)
        if len(done) == 6:
            signal.raise_signal(signal.SIGTERM)
        return step(self, *arguments)

    checkpoint = tmp_path / "checkpoint.safetensors"
    monkeypatch.setattr(Trainer, "_step", interrupting_step)
    with pytest.raises(Interrupted):
        rewound(ready, tmp_path / "out.safetensors", epoch=2, checkpoint=checkpoint)
    assert checkpoint.exists()
    weights, _ = rewound(ready, tmp_path / "out.safetensors", epoch=2, checkpoint=checkpoint)
    assert equal(weights, rewound(ready, tmp_path / "right.safetensors", epoch=2, kept=ready / "kept")[0])
    assert len(done) < 6 + 8
    assert not checkpoint.exists()


def test_a_ticket_holds_the_weights_of_epoch_i_and_goes_on_at_its_rate(ready, tmp_path):
    start, _ = rewound(ready, tmp_path / "start.safetensors", epoch=2, kept=ready / "kept")
    settings = CriterionSettings(function="l1")
    score(ready / "weights.safetensors", ready / "facts.json", tmp_path / "scores.json", settings, seed=0, device=CPU)
    ticket = tmp_path / "ticket.safetensors"
    facts = prune(tmp_path / "start.safetensors", tmp_path / "scores.json", ticket, tmp_path / "t.json", removed=1)
    tensors, _ = read_weights(ticket)
    assert len(facts["removed_blocks"]) == 1
    assert equal(
        tensors, {name: start[name] for name in start if not name.startswith(f"{facts['removed_blocks'][0]}.")}
    )
    train(ticket, ready / "facts.json", tmp_path, SETTINGS, seed=0, device=CPU, start_epoch=2)
    dense, own = (pq.read_table(folder / "curve.parquet").to_pylist() for folder in (ready, tmp_path))
    assert [row["epoch"] for row in own] == [3, 4, 5]
    assert [row["learning_rate"] for row in own] == [row["learning_rate"] for row in dense[2:]]
    assert own[0]["learning_rate"] == pytest.approx(0.01)
    assert read_facts(tmp_path / "training.json")["epochs"] == 3


def test_a_whole_network_that_is_rewound_sees_the_dense_network_s_batches(ready, tmp_path, monkeypatch):
    rewound(ready, tmp_path / "start.safetensors", epoch=3, kept=ready / "kept")
    seen, step = [], Trainer._step

    def recording_step(self, batch, whole, epoch, number):
        seen.append((epoch, number, whole, *(one.tolist() for one in batch)))
        return step(self, batch, whole, epoch, number)

    monkeypatch.setattr(Trainer, "_step", recording_step)
    arguments = (ready / "facts.json", tmp_path, SETTINGS)
    train(ready / "initial.safetensors", *arguments, seed=0, device=CPU)
    dense, seen = [row for row in seen if row[0] >= 3], []
    train(tmp_path / "start.safetensors", *arguments, seed=0, device=CPU, start_epoch=3)
    assert seen == dense


def test_without_momentum_a_rewound_network_ends_where_the_dense_one_does(ready, tmp_path):
    # momentum starts at zero; without it nothing tells a rewound network from the dense one
    plain = SETTINGS.model_copy(update={"momentum": 0.0, "nesterov": False})
    data, initial = ready / "facts.json", ready / "initial.safetensors"
    train(initial, data, tmp_path / "dense", plain, seed=0, device=CPU, keep=[2], kept=tmp_path)
    rewind(initial, data, tmp_path / "start.safetensors", plain, epoch=2, seed=0, device=CPU, kept=tmp_path)
    train(tmp_path / "start.safetensors", data, tmp_path / "again", plain, seed=0, device=CPU, start_epoch=2)
    dense, again = (read_weights(tmp_path / name / "weights.safetensors")[0] for name in ("dense", "again"))
    assert equal(dense, again)


def test_a_ticket_without_removal_is_the_dense_network(ready, tmp_path):
    settings = CriterionSettings(function="random")
    initial, data = ready / "initial.safetensors", ready / "facts.json"
    score(initial, data, tmp_path / "scores.json", settings, seed=0, device=CPU)
    prune(initial, tmp_path / "scores.json", tmp_path / "ticket.safetensors", tmp_path / "t.json", removed=0)
    assert equal(read_weights(initial)[0], read_weights(tmp_path / "ticket.safetensors")[0])
    train(tmp_path / "ticket.safetensors", data, tmp_path, SETTINGS, seed=0, device=CPU)
    assert equal(read_weights(ready / "weights.safetensors")[0], read_weights(tmp_path / "weights.safetensors")[0])


def test_bad_epochs_are_one_line(ready, tmp_path):
    with pytest.raises(LayerLotteryError, match=r"^--epoch: found 6; allowed: 1 to 5$"):
        rewound(ready, tmp_path / "out.safetensors", epoch=6)
    with pytest.raises(LayerLotteryError, match=r"^--start-epoch: found 5; allowed: 0 to 4$"):
        train(
            ready / "initial.safetensors",
            ready / "facts.json",
            tmp_path,
            SETTINGS,
            seed=0,
            device=CPU,
            start_epoch=5,
        )


def test_fresh_weights_differ_from_theta_0_and_are_the_same_again(ready, tmp_path):
    draws = []
    for name, draw in (("one", 1), ("again", 1), ("zero", 0)):
        path = tmp_path / f"{name}.safetensors"
        initialize_network(ready / "facts.json", path, NetworkSettings(depth=20, width=2), seed=0, draw=draw)
        draws.append(load_network(path)[0].state_dict())
    fresh, again, zero = draws
    assert all(torch.equal(fresh[name], again[name]) for name in fresh)
    convolutions = [name for name in fresh if name.endswith(("conv1.weight", "conv2.weight"))]
    assert not any(torch.equal(fresh[name], zero[name]) for name in convolutions)
    assert equal(read_weights(tmp_path / "zero.safetensors")[0], read_weights(ready / "initial.safetensors")[0])
