"""The training loop: the same for dense networks and tickets, resumable at any batch, bit for bit."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerlottery.config.training import TrainingSettings
from layerlottery.data.augmentation import augment
from layerlottery.data.batches import Normalizer, epoch_order, pass_size, split
from layerlottery.data.feed import Batch, Feed
from layerlottery.errors import LayerLotteryError, Suspended
from layerlottery.networks.answers import logits_of
from layerlottery.runtime.stop import STOP, Stop
from layerlottery.store.hashing import derived_seed
from layerlottery.training.averaging import AveragedWeights
from layerlottery.training.checkpoint import Progress
from layerlottery.training.compiled import compiled, repays
from layerlottery.training.norms import group_norms
from layerlottery.training.optimizer import Optimizer
from layerlottery.training.precision import autocast, products, set_products, settle
from layerlottery.training.ranks import Ranks
from layerlottery.training.recipe import learning_rate

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 60.0
GOES_ON = "the checkpoint is saved, the same command goes on from there"
STARTS_ANEW = "there is no checkpoint, the same command starts anew"


@dataclass
class TrainingData:
    """Both splits, ready to be taken from, and the normalisation of their uint8 images."""

    train: Feed
    test: Feed
    normalize: Normalizer


@dataclass
class Trainer:
    """Everything a training needs, and the epoch loop over it; a rewound ticket's begins after `start_epoch`.

    Where weights are averaged, the averaged network is the one that is evaluated and handed on.
    """

    model: nn.Module
    optimizer: Optimizer
    data: TrainingData
    settings: TrainingSettings
    seed: int
    save: Callable[[Progress], None] | None = None
    stop: Stop = STOP
    on_epoch: Callable[[dict[str, float]], None] = lambda row: None
    tick: Callable[[], None] = lambda: None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    start_epoch: int = 0
    ranks: Ranks = field(default_factory=Ranks)
    device: torch.device = field(init=False)
    averaged: AveragedWeights | None = field(init=False)

    def __post_init__(self) -> None:
        self.device = next(self.model.parameters()).device
        self.autocast = autocast(products(self.settings, self.device), self.device)
        set_products(self.settings, self.device)
        if self.settings.norm_images:
            group_norms(self.model, self.settings.norm_images)
        self.steps_per_epoch = len(split(torch.arange(len(self.data.train)), self.settings.batch_size))
        self.compiled = repays(self.settings, self.device, steps=self.settings.epochs * self.steps_per_epoch)
        self.forward = compiled(self.model, self.device) if self.compiled else self.model
        self.saved_at = time.monotonic()
        decay = self.settings.ema_decay
        self.averaged = AveragedWeights(self.model, decay) if decay else None

    def result(self) -> AbstractContextManager[None]:
        """The network as it is evaluated and handed on, for as long as this lasts: with averaged weights, if any."""
        return self.averaged.shown() if self.averaged else nullcontext()

    def run(self, progress: Progress, *, until: int | None = None) -> None:
        """Train from `progress` to the end of epoch `until`, by default the last.

        Raises Suspended, with the progress saved, when told to stop. `on_epoch` is called with the learning curve's
        row after every epoch, `tick` after every batch.
        """
        self.autocast = settle(progress, self.settings, self.device)
        try:
            while progress.epoch < (until or self.settings.epochs):
                self._train_epoch(progress)
                self._finish_epoch(progress)
            self._look_for_stop()
        except Suspended:
            if self.save is not None:
                self.save(progress)
            raise
        except torch.OutOfMemoryError as error:
            said = str(error).partition(". ")[0]
            raise LayerLotteryError(
                f"training.batch_size: found {self.settings.batch_size}; no device memory for a step of it ({said}); "
                "lower it, or run fewer jobs on the GPU"
            ) from error

    def _train_epoch(self, progress: Progress) -> None:
        self.model.train()
        order = epoch_order(len(self.data.train), seed=self.seed, epoch=progress.epoch)
        left = split(order, self.settings.batch_size)[progress.batch :]
        mine = [self.ranks.share(len(batch)).of(batch) for batch in left]
        with closing(self.data.train.batches(mine)) as fed:
            self._train_batches(zip(fed, map(len, left), strict=True), progress)

    def _train_batches(self, fed: Iterable[tuple[Batch, int]], progress: Progress) -> None:
        """Train on this process's part of each batch; beside it stands how many images the whole has."""
        started = time.perf_counter()
        # kept on the device: reading them in every step would make a GPU wait
        loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=self.device)
        correct = torch.tensor(progress.correct, device=self.device)
        for number, (batch, whole) in enumerate(fed, progress.batch):
            loss, hits = self._step(batch, whole, progress.epoch, number)
            loss_sum += loss * whole
            correct += hits
            progress.batch = number + 1
            self.tick()
            due = time.monotonic() - self.saved_at > self.checkpoint_seconds
            if self.ranks.agreed(due or self.stop.requested) or progress.batch == self.steps_per_epoch:
                progress.loss_sum, progress.correct = loss_sum.item(), int(correct.item())
                progress.epoch_seconds += time.perf_counter() - started
                self._look_for_stop()
                if due and self.save is not None:
                    self.save(progress)
                    self.saved_at = time.monotonic()
                started = time.perf_counter()

    def _look_for_stop(self) -> None:
        if self.ranks.agreed(self.stop.requested):
            raise Suspended(STARTS_ANEW if self.save is None else GOES_ON)

    def _step(self, batch: Batch, whole: int, epoch: int, number: int) -> tuple[Tensor, Tensor]:
        (images, labels), settings, share = batch, self.settings, self.ranks.share(whole)
        images = augment(images, settings, seed=self.seed, epoch=epoch, batch=number, share=share)
        step = epoch * self.steps_per_epoch + number
        self.optimizer.learning_rate = learning_rate(settings, step=step, steps_per_epoch=self.steps_per_epoch)
        self.optimizer.zero_grad()
        with self.autocast:
            # for networks that draw, by dropout or stochastic depth: a resumed training draws the same
            self._seed_draws(derived_seed("network", self.seed, epoch, number, *self.ranks.begin(share)))
            logits = logits_of(self.forward(self.data.normalize(images)), training=True)
        labels = labels.to(self.device)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=settings.label_smoothing)
        self.ranks.weighted(loss, share).backward()
        self._update(step)
        return self.ranks.total(loss.detach(), (logits.detach().argmax(1) == labels).sum(), share)

    def _update(self, step: int) -> None:
        """Move the weights, and the average after them."""
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        if self.averaged is not None:
            # its own steps: the average of a rewound ticket begins where the ticket does
            self.averaged.update(step - self.start_epoch * self.steps_per_epoch)

    def _seed_draws(self, seed: int) -> None:
        """As torch.manual_seed, which takes 0.1 ms to tell accelerators that are not there."""
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def _finish_epoch(self, progress: Progress) -> None:
        count = len(self.data.train)
        if not math.isfinite(progress.loss_sum):
            raise LayerLotteryError(
                f"training.learning_rate: the loss is {progress.loss_sum} in epoch {progress.epoch + 1}; "
                f"found {self.settings.learning_rate}, lower it"
            )
        with self.result():
            test_loss, test_accuracy = self.evaluate()
        last = (progress.epoch + 1) * self.steps_per_epoch - 1
        row = {
            "epoch": progress.epoch + 1,
            # not the optimizer's: a training resumed after its epoch's last batch has made no step yet
            "learning_rate": learning_rate(self.settings, step=last, steps_per_epoch=self.steps_per_epoch),
            "train_loss": progress.loss_sum / count,
            "train_accuracy": 100 * progress.correct / count,
            "test_loss": test_loss,
            "test_accuracy": test_accuracy,
            "seconds": progress.epoch_seconds,
        }
        progress.curve.append(row)
        progress.epoch += 1
        progress.batch, progress.loss_sum, progress.correct, progress.epoch_seconds = 0, 0.0, 0, 0.0
        self.on_epoch(row)

    @torch.inference_mode()
    def evaluate(self) -> tuple[float, float]:
        """Mean cross-entropy (nats) and accuracy (percent) on the test split."""
        self.model.eval()
        # on the device, as in training
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        count = len(self.data.test)
        passes = torch.arange(count).split(pass_size(self.device) * self.ranks.count)
        with closing(self.data.test.batches([self.ranks.slice_of(len(one)).of(one) for one in passes])) as fed:
            for images, labels in fed:
                # an epoch's end is a place to go on from, and a large set takes longer than there may be left
                self._look_for_stop()
                if not len(labels):  # this process's part of a last pass with fewer images than processes
                    continue
                on_device = labels.to(self.device)
                with self.autocast:
                    logits = self.model(self.data.normalize(images)).float()
                loss += F.cross_entropy(logits, on_device, reduction="sum")
                correct += (logits.argmax(1) == on_device).sum()
        self.ranks.add(loss, correct)
        return loss.item() / count, 100 * int(correct) / count
