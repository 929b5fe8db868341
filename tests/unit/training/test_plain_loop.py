"""A seeded training of the embedded digits against a plain loop in float64 that shares nothing with it but files.

The loop's network is a page of torch functions on the tensors of the weights file. Orders of images, crops and flips
follow from the rule that makes trainings repeatable: a generator seeded by a hash of purpose, seed, epoch and batch.
"""

import hashlib
import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from layerlottery.config.data import Digits
from layerlottery.config.networks import NetworkSettings
from layerlottery.config.training import TrainingSettings
from layerlottery.data.prepare import prepare
from layerlottery.networks.initialize import initialize_network
from layerlottery.store.artifacts import read_facts, read_weights
from layerlottery.training.recipe import make_optimizer
from layerlottery.training.session import begin

SEED, DEPTH, BATCH, RATE, MOMENTUM, DECAY = 3, 14, 50, 0.02, 0.9, 5e-4
SETTINGS = TrainingSettings(
    epochs=2, batch_size=BATCH, learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY, schedule="cosine",
    crop=1, flip=True, precision="float32",
)  # fmt: skip


class PlainLoop:
    """SGD with Nesterov's momentum on a CIFAR ResNet, everything in float64."""

    def __init__(self, folder, shortcut):
        state = {
            name: torch.from_numpy(array) for name, array in read_weights(folder / f"{shortcut}.safetensors")[0].items()
        }
        self.state = {name: tensor.double() for name, tensor in state.items()}
        self.trained = {
            name: one.requires_grad_() for name, one in self.state.items() if name.endswith(("weight", "bias"))
        }
        self.velocity = {name: torch.zeros_like(one) for name, one in self.trained.items()}
        facts = read_facts(folder / "facts.json")
        self.mean, self.std = facts["mean"][0], facts["std"][0]
        self.images, self.labels, self.test_images, self.test_labels = (
            torch.from_numpy(np.load(folder / f"{split}_{kind}.npy"))
            for split in ("train", "test")
            for kind in ("images", "labels")
        )

    def norm(self, name, maps, training):
        mean, variance = maps.mean((0, 2, 3)), maps.var((0, 2, 3), correction=0)
        if training:
            with torch.no_grad():
                count = maps.numel() / maps.shape[1]
                for kept, new in (("mean", mean), ("var", variance * count / (count - 1))):
                    self.state[f"{name}.running_{kept}"].mul_(0.9).add_(0.1 * new)
        else:
            mean, variance = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        weight, bias = (self.state[f"{name}.{kind}"].view(-1, 1, 1) for kind in ("weight", "bias"))
        return (maps - mean.view(-1, 1, 1)) / (variance + 1e-5).sqrt().view(-1, 1, 1) * weight + bias

    def block(self, name, maps, stride, training):
        inner = F.conv2d(maps, self.state[f"{name}.conv1.weight"], stride=stride, padding=1)
        inner = self.norm(f"{name}.bn1", inner, training).clamp(min=0)
        outer = F.conv2d(inner, self.state[f"{name}.conv2.weight"], padding=1)
        outer = self.norm(f"{name}.bn2", outer, training)
        if stride == 2 and f"{name}.shortcut.conv.weight" in self.state:
            maps = F.conv2d(maps, self.state[f"{name}.shortcut.conv.weight"], stride=2)
            maps = self.norm(f"{name}.shortcut.bn", maps, training)
        elif stride == 2:
            empty = torch.zeros_like(outer[:, : maps.shape[1] // 2])
            maps = torch.cat([empty, maps[:, :, ::2, ::2], empty], dim=1)
        return (outer + maps).clamp(min=0)

    def logits(self, pixels, *, training):
        maps = (pixels.double() / 255 - self.mean) / self.std
        maps = self.norm("stem.1", F.conv2d(maps, self.state["stem.0.weight"], padding=1), training).clamp(min=0)
        for stage in (1, 2, 3):
            for place in range((DEPTH - 2) // 6):
                maps = self.block(f"stage{stage}.{place}", maps, 2 if stage > 1 and not place else 1, training)
        return maps.mean((2, 3)) @ self.state["classifier.weight"].T + self.state["classifier.bias"]

    def step(self, loss, rate):
        for (name, one), gradient in zip(
            self.trained.items(), torch.autograd.grad(loss, list(self.trained.values())), strict=True
        ):
            with torch.no_grad():
                gradient = gradient + DECAY * one
                self.velocity[name] = MOMENTUM * self.velocity[name] + gradient
                one -= rate * (gradient + MOMENTUM * self.velocity[name])

    def run(self, epochs):
        """(train loss, test loss, test accuracy) of each epoch."""
        for epoch in range(epochs):
            order = torch.randperm(len(self.labels), generator=generator("order", SEED, epoch))
            batches, total = order.split(BATCH), 0.0
            for number, chosen in enumerate(batches):
                logits = self.logits(moved(self.images[chosen], epoch, number), training=True)
                loss = F.cross_entropy(logits, self.labels[chosen])
                passed = (epoch * len(batches) + number) / (epochs * len(batches))
                self.step(loss, RATE * (1 + math.cos(math.pi * passed)) / 2)
                total += loss.item() * len(chosen)
            with torch.no_grad():
                logits = self.logits(self.test_images, training=False)
            right = (logits.argmax(1) == self.test_labels).double().mean().item()
            yield total / len(order), F.cross_entropy(logits, self.test_labels).item(), 100 * right


def generator(*parts):
    digest = hashlib.sha256(json.dumps(list(parts), separators=(",", ":")).encode()).hexdigest()
    return torch.Generator().manual_seed(int(digest[:16], 16) >> 1)


def moved(images, epoch, batch):
    """Each image moved by up to a pixel either way, then mirrored or not."""
    drawn = generator("augment", SEED, epoch, batch)
    corners = torch.randint(0, 3, (2, len(images)), generator=drawn).T.tolist()
    padded = F.pad(images, (1, 1, 1, 1))
    cropped = [one[:, row : row + 8, column : column + 8] for one, (row, column) in zip(padded, corners, strict=True)]
    mirrored = torch.rand(len(images), generator=drawn) < 0.5
    return torch.stack([one.flip(2) if mirror else one for one, mirror in zip(cropped, mirrored, strict=True)])


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ready")
    prepare(Digits(source="digits", train_size=620, test_size=150), folder)
    for shortcut in ("A", "B"):
        settings = NetworkSettings(depth=DEPTH, width=8, shortcut=shortcut)
        initialize_network(folder / "facts.json", folder / f"{shortcut}.safetensors", settings, seed=SEED)
    return folder


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_a_training_gives_what_a_plain_loop_gives(ready, monkeypatch, shortcut):
    expected = list(PlainLoop(ready, shortcut).run(SETTINGS.epochs))
    assert expected[-1][0] < expected[0][0] - 0.05
    # in float64 throughout, so that rounding can't grow to be mistaken for a difference
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    for channels_last in (True, False):
        curve = trained(ready, shortcut, SETTINGS.model_copy(update={"channels_last": channels_last}))
        for row, wanted in zip(curve, expected, strict=True):
            assert (row["train_loss"], row["test_loss"], row["test_accuracy"]) == pytest.approx(wanted, rel=1e-9)


def trained(ready, shortcut, settings):
    """The learning curve of the package's own loop, in float64."""
    device = torch.device("cpu")
    session = begin(ready / f"{shortcut}.safetensors", ready / "facts.json", settings, seed=SEED, device=device)
    trainer, facts = session.trainer, read_facts(ready / "facts.json")
    trainer.optimizer = make_optimizer(trainer.model.double(), settings)
    for name in ("mean", "std"):
        exact = 255 * torch.tensor(facts[name], dtype=torch.float64).view(1, -1, 1, 1)
        setattr(trainer.data.normalize, name, exact)
    trainer.run(session.progress)
    return session.progress.curve
