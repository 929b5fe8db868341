"""A recipe of today's networks, all of it at once: against a plain loop of torch's own parts, and resumed anywhere."""

import hashlib
import json
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.optim.swa_utils import AveragedModel
from torchvision.transforms import v2

from layerlottery.config.data import Digits
from layerlottery.config.networks import NetworkSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.data.prepare import prepare
from layerlottery.data.prepared import PreparedSet
from layerlottery.errors import Interrupted, LayerLotteryError
from layerlottery.networks.initialize import initialize_network
from layerlottery.networks.weights import load_network
from layerlottery.store.artifacts import read_facts, read_tensors
from layerlottery.training.loop import Trainer
from layerlottery.training.recipe import make_optimizer
from layerlottery.training.rewind import rewind
from layerlottery.training.session import begin
from layerlottery.training.train import train

CPU = torch.device("cpu")
SEED, EPOCHS, BATCH, RATE, CLIP = 3, 3, 40, 0.004, 0.86
SETTINGS = TrainingSettings(
    epochs=EPOCHS, batch_size=BATCH, optimizer="adamw", learning_rate=RATE, momentum=0.8, beta2=0.95,
    weight_decay=0.2, decayed="matrices", clip_norm=CLIP, schedule="warmup_cosine", warmup=0.25, label_smoothing=0.1,
    ema_decay=0.8, crop=0, resized_crop=0.5, flip=True, rand_augment=1, rand_magnitude=5, precision="float32",
)  # fmt: skip
# the same without what a page of torch's functions can't draw again
DRAWN = {"resized_crop": None, "flip": False}


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    prepare(Digits(source="digits", train_size=320, test_size=100), folder)
    network = NetworkSettings(depth=8, width=4)
    initialize_network(folder / "facts.json", folder / "initial.safetensors", network, seed=SEED)
    return folder


@pytest.fixture(scope="module")
def undisturbed(ready, tmp_path_factory):
    output = tmp_path_factory.mktemp("undisturbed")
    run(ready, output)
    return output


def run(ready, output, settings=SETTINGS, **options):
    options = {"seed": SEED, "device": CPU} | options
    return train(ready / "initial.safetensors", ready / "facts.json", output, settings, **options)


def timeless(output):
    return pq.read_table(output / "curve.parquet").drop(["seconds"]).to_pylist()


def content(path):
    return read_tensors(path)[1]["content"]


def seed_of(*parts):
    digest = hashlib.sha256(json.dumps(list(parts), separators=(",", ":")).encode()).hexdigest()
    return int(digest[:16], 16) >> 1


class PlainLoop:
    """The recipe with torch's optimizer, schedulers, loss and averages, in float64."""

    def __init__(self, folder):
        self.model = load_network(folder / "initial.safetensors")[0].double()
        facts = read_facts(folder / "facts.json")
        self.mean, self.std = facts["mean"][0], facts["std"][0]
        self.images, self.labels, self.test_images, self.test_labels = (
            torch.from_numpy(np.load(folder / f"{split}_{kind}.npy"))
            for split in ("train", "test")
            for kind in ("images", "labels")
        )
        matrices = [one for one in self.model.parameters() if one.dim() in (2, 4)]
        others = [one for one in self.model.parameters() if one.dim() == 1]
        groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.8, 0.95), weight_decay=0.2, foreach=False)
        total = EPOCHS * len(self.labels) // BATCH
        rising = total // 4
        warm_up = lr_scheduler.LinearLR(self.optimizer, start_factor=1 / rising, total_iters=rising - 1)
        falling = lr_scheduler.CosineAnnealingLR(self.optimizer, total - rising)
        self.scheduler = lr_scheduler.SequentialLR(self.optimizer, [warm_up, falling], milestones=[rising])
        self.averaged = AveragedModel(self.model, avg_fn=self.average, use_buffers=True)
        self.averaged.update_parameters(self.model)

    @staticmethod
    def average(held, current, number):
        decay = min(0.8, number.item() / (9 + number.item()))
        return decay * held + (1 - decay) * current if held.is_floating_point() else current

    def logits(self, model, images):
        return model((images.double() / 255 - self.mean) / self.std)

    def step(self, images, labels):
        self.optimizer.zero_grad()
        targets = 0.9 * F.one_hot(labels, 10).double() + 0.1 / 10
        loss = -(targets * F.log_softmax(self.logits(self.model.train(), images), dim=1)).sum(1).mean()
        loss.backward()
        norm = torch.cat([one.grad.flatten() for one in self.model.parameters()]).norm()
        clipped = bool(norm > CLIP)
        for one in self.model.parameters() if clipped else ():
            one.grad *= CLIP / (norm + 1e-6)
        self.optimizer.step()
        self.scheduler.step()
        self.averaged.update_parameters(self.model)
        return loss.item(), clipped

    def run(self):
        """(train loss, test loss, test accuracy) of each epoch; the steps whose gradients were clipped are counted."""
        self.clipped = 0
        for epoch in range(EPOCHS):
            drawn = torch.Generator().manual_seed(seed_of("order", SEED, epoch))
            total = 0.0
            for number, chosen in enumerate(torch.randperm(len(self.labels), generator=drawn).split(BATCH)):
                torch.manual_seed(seed_of("rand_augment", SEED, epoch, number))
                policy = v2.RandAugment(1, 5)
                images = torch.cat([policy(group) for group in self.images[chosen].split(8)])
                loss, clipped = self.step(images, self.labels[chosen])
                total += loss * len(chosen)
                self.clipped += clipped
            with torch.no_grad():
                logits = self.logits(self.averaged.module.eval(), self.test_images)
            right = (logits.argmax(1) == self.test_labels).double().mean().item()
            yield total / len(self.labels), F.cross_entropy(logits, self.test_labels).item(), 100 * right


def test_a_training_gives_what_a_plain_loop_gives(ready, monkeypatch):
    plain = PlainLoop(ready)
    expected = list(plain.run())
    assert expected[-1][0] < expected[0][0] - 0.05
    # some gradients are clipped, others are not
    assert 0 < plain.clipped < EPOCHS * 8
    # in float64 throughout, so that rounding can't grow to be mistaken for a difference
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    settings = SETTINGS.model_copy(update=DRAWN)
    session = begin(ready / "initial.safetensors", ready / "facts.json", settings, seed=SEED, device=CPU)
    trainer, facts = session.trainer, read_facts(ready / "facts.json")
    for name in ("mean", "std"):
        exact = 255 * torch.tensor(facts[name], dtype=torch.float64).view(1, -1, 1, 1)
        setattr(trainer.data.normalize, name, exact)
    model = trainer.model.double()
    trainer = Trainer(model, make_optimizer(model, settings), trainer.data, settings, SEED)
    trainer.run(session.progress)
    for row, wanted in zip(session.progress.curve, expected, strict=True):
        assert (row["train_loss"], row["test_loss"], row["test_accuracy"]) == pytest.approx(wanted, rel=1e-7)


@pytest.mark.parametrize("stop_at", [0, 1, 7, 8, 13, 23])
def test_interrupted_anywhere_it_resumes_bit_for_bit(ready, undisturbed, tmp_path, monkeypatch, stop_at):
    checkpoint = tmp_path / "checkpoint.safetensors"
    step, done = Trainer._step, []

    def interrupting_step(self, *arguments):
        if len(done) == stop_at:
            signal.raise_signal(signal.SIGTERM)
        done.append(1)
        return step(self, *arguments)

    torch.manual_seed(stop_at)
    monkeypatch.setattr(Trainer, "_step", interrupting_step)
    with pytest.raises(Interrupted):
        run(ready, tmp_path, checkpoint=checkpoint)
    monkeypatch.setattr(Trainer, "_step", step)
    torch.manual_seed(stop_at + 100)
    run(ready, tmp_path, checkpoint=checkpoint)
    assert content(tmp_path / "weights.safetensors") == content(undisturbed / "weights.safetensors")
    assert timeless(tmp_path) == timeless(undisturbed)


def test_stopped_while_it_evaluates_the_average_it_resumes_bit_for_bit(ready, undisturbed, tmp_path, monkeypatch):
    checkpoint = tmp_path / "checkpoint.safetensors"
    evaluate, done = Trainer.evaluate, []

    def interrupting_evaluation(self):
        done.append(1)
        if len(done) == 2:
            signal.raise_signal(signal.SIGTERM)
        return evaluate(self)

    monkeypatch.setattr(Trainer, "evaluate", interrupting_evaluation)
    with pytest.raises(Interrupted):
        run(ready, tmp_path, checkpoint=checkpoint)
    run(ready, tmp_path, checkpoint=checkpoint)
    assert content(tmp_path / "weights.safetensors") == content(undisturbed / "weights.safetensors")
    assert timeless(tmp_path) == timeless(undisturbed)


def test_the_averaged_network_is_the_one_that_is_handed_on(ready, undisturbed):
    model, _ = load_network(undisturbed / "weights.safetensors")
    prepared = PreparedSet.open(ready / "facts.json")
    test = prepared.split("test")
    images = (torch.from_numpy(np.array(test.images)).float() / 255 - prepared.mean[0]) / prepared.std[0]
    labels = torch.from_numpy(np.array(test.labels))
    with torch.no_grad():
        logits = model.eval()(images)
    last = timeless(undisturbed)[-1]
    assert F.cross_entropy(logits, labels).item() == pytest.approx(last["test_loss"], rel=1e-4)
    assert 100 * (logits.argmax(1) == labels).float().mean().item() == pytest.approx(last["test_accuracy"])


def test_averaging_changes_no_step_of_the_training(ready, undisturbed, tmp_path):
    run(ready, tmp_path, SETTINGS.model_copy(update={"ema_decay": 0.0}))
    own, averaged = timeless(tmp_path), timeless(undisturbed)
    assert [row["train_loss"] for row in own] == [row["train_loss"] for row in averaged]
    assert all(one["test_loss"] != other["test_loss"] for one, other in zip(own, averaged, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": "sgd", "beta2": 0.999},
        {"beta2": 0.9},
        {"decayed": "all"},
        {"clip_norm": None},
        {"schedule": "cosine"},
        {"label_smoothing": 0.0},
        {"resized_crop": None},
        {"rand_augment": 0},
        {"rand_magnitude": 30},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_setting_counts(ready, undisturbed, tmp_path, change):
    run(ready, tmp_path, SETTINGS.model_copy(update=change | {"epochs": 1}))
    run(ready, tmp_path / "whole", SETTINGS.model_copy(update={"epochs": 1}))
    assert content(tmp_path / "weights.safetensors") != content(tmp_path / "whole" / "weights.safetensors")


def test_weights_to_rewind_to_are_those_of_the_training_kept_or_trained_again(ready, tmp_path):
    run(ready, tmp_path, keep=[2], kept=tmp_path / "kept")
    run(ready, tmp_path / "plain", SETTINGS.model_copy(update={"ema_decay": 0.0}), keep=[2], kept=tmp_path / "raw")
    for name, kept in (("kept", tmp_path / "kept"), ("again", None)):
        path = tmp_path / f"{name}.safetensors"
        arguments = (ready / "initial.safetensors", ready / "facts.json", path, SETTINGS)
        rewind(*arguments, epoch=2, seed=SEED, device=CPU, kept=kept)
    (raw,) = (tmp_path / "raw").iterdir()
    assert content(tmp_path / "kept.safetensors") == content(tmp_path / "again.safetensors") == content(raw)


def test_a_rewound_tickets_average_begins_where_the_ticket_does(ready, tmp_path):
    # one step: the average is a tenth of the weights it starts from and nine tenths of those after the step
    one = SETTINGS.model_copy(update={"batch_size": 1000})
    for name, decay in (("averaged", 0.8), ("plain", 0.0)):
        settings = one.model_copy(update={"ema_decay": decay})
        run(ready, tmp_path / name, settings, start_epoch=EPOCHS - 1)
    files = ready / "initial.safetensors", *(tmp_path / name / "weights.safetensors" for name in ("averaged", "plain"))
    first, averaged, after = (read_tensors(path)[0] for path in files)
    for name, tensor in averaged.items():
        if tensor.dtype == np.float32:
            np.testing.assert_allclose(tensor, 0.1 * first[name] + 0.9 * after[name], rtol=1e-4, atol=1e-6)
    assert content(files[1]) != content(files[2])


def test_rand_augment_refuses_other_channels_before_it_trains(ready, tmp_path, monkeypatch):
    monkeypatch.setattr(PreparedSet, "channels", 4)
    with pytest.raises(
        LayerLotteryError, match=r"^training\.rand_augment: found images of 4 channels; allowed: 1 or 3$"
    ):
        run(ready, tmp_path)
