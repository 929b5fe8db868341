"""Several networks of one architecture trained in one process, step by step together: for those that leave a GPU idle.

Weights are stacked and torch.func.vmap takes all networks through each layer at once. Every network has its own
initial weights, order of images and augmentation, and ends where it would have ended alone, up to rounding.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from layerlottery.config.training import TrainingSettings
from layerlottery.data.batches import augment, epoch_order
from layerlottery.errors import LayerLotteryError
from layerlottery.training.loop import TrainingData
from layerlottery.training.optimizer import MomentumSGD
from layerlottery.training.recipe import compute_type, learning_rate, set_products

EVALUATED = 500  # test images at once

Row = dict[str, float]


@dataclass
class Together:
    """The training of k networks; `models[i]` has the data order of `seeds[i]`.

    All lie on one device. Raises when their parameters differ in name or shape.
    """

    models: Sequence[nn.Module]
    data: TrainingData
    settings: TrainingSettings
    seeds: Sequence[int]
    device: torch.device = field(init=False)

    def __post_init__(self) -> None:
        _check(self.models, self.seeds)
        self.device = next(self.models[0].parameters()).device
        set_products(self.settings, self.device)
        self.parameters, self.buffers = stack_module_state(list(self.models))
        self.network = copy.deepcopy(self.models[0]).to("meta")
        named = {name: nn.Parameter(stacked.detach()) for name, stacked in self.parameters.items()}
        self.parameters = dict(named)
        self.optimizer = MomentumSGD(named.items(), self.settings)
        dtype = compute_type(self.settings, self.device)
        self.autocast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
        self.steps_per_epoch = -(-len(self.data.train_labels) // self.settings.batch_size)

    def run(self) -> list[list[Row]]:
        """Train all networks, in place; returns a learning curve (a row an epoch) for each."""
        curves: list[list[Row]] = [[] for _ in self.seeds]
        for epoch in range(self.settings.epochs):
            losses, hits = self._train_epoch(epoch)
            tests = self._evaluate()
            for curve, loss, correct, (test_loss, test_accuracy) in zip(curves, losses, hits, tests, strict=True):
                curve.append(self._row(epoch, loss, correct) | {"test_loss": test_loss, "test_accuracy": test_accuracy})
        self._give_back()
        return curves

    def _train_epoch(self, epoch: int) -> tuple[list[float], list[float]]:
        self.network.train()
        count = len(self.data.train_labels)
        orders = torch.stack([epoch_order(count, seed=seed, epoch=epoch) for seed in self.seeds])
        loss_sums = torch.zeros(len(self.seeds), dtype=torch.float64, device=self.device)
        hits = torch.zeros_like(loss_sums)
        for number, chosen in enumerate(orders.split(self.settings.batch_size, dim=1)):
            losses, correct = self._step(chosen, epoch, number)
            loss_sums += losses * chosen.shape[1]
            hits += correct
        return loss_sums.tolist(), hits.tolist()

    def _step(self, chosen: Tensor, epoch: int, number: int) -> tuple[Tensor, Tensor]:
        """One step of all networks on their own images `chosen`, (k, n)."""
        step = epoch * self.steps_per_epoch + number
        self.optimizer.learning_rate = learning_rate(self.settings, step=step, steps_per_epoch=self.steps_per_epoch)
        self.optimizer.zero_grad()
        images = torch.stack([self._images(*pair, epoch, number) for pair in zip(chosen, self.seeds, strict=True)])
        labels = self.data.train_labels[chosen].to(self.device)
        with self.autocast:
            logits = vmap(self._logits)(self.parameters, self.buffers, images)
        losses = F.cross_entropy(logits.float().movedim(2, 1), labels, reduction="none").mean(1)
        # each network's gradient comes from its own loss alone
        losses.sum().backward()
        self.optimizer.step()
        return losses.detach(), (logits.detach().argmax(2) == labels).sum(1)

    def _images(self, chosen: Tensor, seed: int, epoch: int, number: int) -> Tensor:
        settings, images = self.settings, self.data.train_images[chosen]
        images = augment(images, crop=settings.crop, flip=settings.flip, seed=seed, epoch=epoch, batch=number)
        return self.data.normalize(images)

    def _logits(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
        logits: Tensor = functional_call(self.network, (parameters, buffers), (images,))
        return logits

    @torch.no_grad()
    def _evaluate(self) -> list[tuple[float, float]]:
        """Mean cross-entropy (nats) and accuracy (percent) of each network on the test split."""
        self.network.eval()
        sums = torch.zeros(2, len(self.seeds), dtype=torch.float64, device=self.device)
        parts = zip(self.data.test_images.split(EVALUATED), self.data.test_labels.split(EVALUATED), strict=True)
        for images, labels in parts:
            expected = labels.to(self.device).expand(len(self.seeds), -1)
            with self.autocast:
                normalized = self.data.normalize(images)
                logits = vmap(self._logits, in_dims=(0, 0, None))(self.parameters, self.buffers, normalized).float()
            sums[0] += F.cross_entropy(logits.movedim(2, 1), expected, reduction="none").sum(1)
            sums[1] += (logits.argmax(2) == expected).sum(1)
        count = len(self.data.test_labels)
        return [(loss / count, 100 * correct / count) for loss, correct in sums.T.tolist()]

    def _row(self, epoch: int, loss_sum: float, correct: float) -> Row:
        if not math.isfinite(loss_sum):
            rate = self.settings.learning_rate
            raise LayerLotteryError(
                f"training.learning_rate: the loss is {loss_sum} in epoch {epoch + 1}; found {rate}, lower it"
            )
        count, last = len(self.data.train_labels), (epoch + 1) * self.steps_per_epoch - 1
        return {
            "epoch": epoch + 1,
            "learning_rate": learning_rate(self.settings, step=last, steps_per_epoch=self.steps_per_epoch),
            "train_loss": loss_sum / count,
            "train_accuracy": 100 * correct / count,
        }

    def _give_back(self) -> None:
        stacked = self.parameters | self.buffers
        for number, model in enumerate(self.models):
            model.load_state_dict({name: tensor[number].detach() for name, tensor in stacked.items()})


def _check(models: Sequence[nn.Module], seeds: Sequence[int]) -> None:
    if not models or len(models) != len(seeds):
        raise LayerLotteryError(f"together: found {len(models)} networks and {len(seeds)} seeds; one seed a network")
    shapes = [{name: tensor.shape for name, tensor in model.state_dict().items()} for model in models]
    for number, found in enumerate(shapes):
        if found != shapes[0]:
            raise LayerLotteryError(f"together: network {number} is of another architecture than network 0")
