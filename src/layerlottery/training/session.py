"""A training about to begin or to go on: the network, its data, and how far it got."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from layerlottery.config.provenance import config_hash
from layerlottery.config.training import TrainingSettings
from layerlottery.data.batches import Normalizer
from layerlottery.data.prepared import PreparedSet
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.weights import load_network, save_network
from layerlottery.store.chain import Chain
from layerlottery.training.checkpoint import Progress, resume, save_checkpoint
from layerlottery.training.kernels import accelerate, keep_freed_memory
from layerlottery.training.loop import Trainer, TrainingData
from layerlottery.training.recipe import make_optimizer
from layerlottery.training.room import feeds


@dataclass
class Session:
    """`fingerprint` identifies what is trained: settings, initial weights, data, seed and first epoch.

    `given` is what `begin` was called with, but for the device.
    """

    trainer: Trainer
    progress: Progress
    architecture: dict[str, Any]
    fingerprint: str
    inputs: dict[str, str]
    given: dict[str, Any]

    def save_weights(self, path: Path, *, config_hash: str | None = None) -> str:
        """Write the network as it is now, made by this training or by `config_hash`; returns the content hash."""
        facts = {"architecture": self.architecture}
        made_by = config_hash or self.fingerprint
        return save_network(path, self.trainer.model, facts, config_hash=made_by, inputs=self.inputs)

    def save_result(self, path: Path) -> str:
        """Write the network that the training hands on: with averaged weights, if any; returns the content hash."""
        with self.trainer.result():
            return self.save_weights(path)

    def load_result(self, model: nn.Module) -> None:
        """Take what another training handed on: save_result then writes it again."""
        self.trainer.model.load_state_dict(model.state_dict())
        if self.trainer.averaged is not None:
            self.trainer.averaged.restart()


def begin(
    weights: Path,
    data: Path,
    settings: TrainingSettings,
    *,
    seed: int,
    device: torch.device,
    start_epoch: int = 0,
    checkpoint: Path | None = None,
) -> Session:
    """Load the network in `weights` and the prepared set `data`, and the checkpoint where there is one.

    With a `start_epoch` i, order of images, augmentation and learning rate are those of the epochs after i;
    the momentum starts at zero (Renda et al. 2020). Raises when i leaves no epoch to train. Of a network whose file
    names a `training_share` the epochs, and the schedule with them, are shortened to that share.
    """
    given = {"weights": weights, "data": data, "settings": settings, "seed": seed}
    given |= {"start_epoch": start_epoch, "checkpoint": checkpoint}
    model, facts = load_network(weights)
    if "training_share" in facts:
        settings = settings.shortened(float(facts["training_share"]))
    if not 0 <= start_epoch < settings.epochs:
        raise LayerLotteryError(f"--start-epoch: found {start_epoch}; allowed: 0 to {settings.epochs - 1}")
    prepared = PreparedSet.open(data)
    if settings.rand_augment and prepared.channels not in (1, 3):
        raise LayerLotteryError(f"training.rand_augment: found images of {prepared.channels} channels; allowed: 1 or 3")
    chain = Chain()
    chain.add(data, prepared.content)
    chain.add(weights, facts["content"], facts["stamp"])
    first = {"start_epoch": start_epoch} if start_epoch else {}
    fingerprint = config_hash("train", settings, [facts["content"], prepared.content], seed=seed, **first)
    # the layout comes first: the optimizer's buffers copy it
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    model = model.to(device).to(memory_format=layout)
    if device.type == "cpu":
        accelerate(model)
        keep_freed_memory()
    optimizer = make_optimizer(model, settings)
    normalize = Normalizer(prepared.mean, prepared.std, device=device, channels_last=settings.channels_last)
    train, test = feeds([prepared.split("train"), prepared.split("test")], model, settings, device)
    fed = TrainingData(train, test, normalize)
    trainer = Trainer(model, optimizer, fed, settings, seed, start_epoch=start_epoch)
    held: dict[str, Any] = {"fingerprint": fingerprint, "averaged": trainer.averaged}
    progress = resume(checkpoint, model, optimizer, start_epoch=start_epoch, **held)
    if checkpoint is not None:
        trainer.save = partial(save_checkpoint, checkpoint, model, optimizer, **held)
    return Session(trainer, progress, facts["architecture"], fingerprint, chain.inputs, given)
