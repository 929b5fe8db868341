"""A resumable training state: weights, the optimizer's state, averages and progress in one safetensors file, no pickle.

Random state need not be kept: order and augmentation follow from seed, epoch and batch.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from torch import Tensor, nn

from layerlottery.networks.weights import network_state, state_arrays
from layerlottery.store.artifacts import read_tensors, write_tensors
from layerlottery.training.averaging import AveragedWeights
from layerlottery.training.leftovers import of_this_training
from layerlottery.training.optimizer import Optimizer

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a training got: completed epochs, batches of the current one, and what was measured.

    `precision` is the type that it computes in; empty before its first step, and in checkpoints of earlier versions.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    epoch_seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)
    precision: str = ""


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: Optimizer,
    progress: Progress,
    *,
    fingerprint: str,
    averaged: AveragedWeights | None = None,
) -> None:
    """Replace the checkpoint atomically; `fingerprint` identifies the configuration that it belongs to."""
    state = {f"model.{name}": value for name, value in model.state_dict().items()} | _beside(optimizer, averaged)
    arrays, more = state_arrays(state)
    write_tensors(path, arrays, asdict(progress) | more, config_hash=fingerprint)


def resume(
    path: Path | None,
    model: nn.Module,
    optimizer: Optimizer,
    *,
    fingerprint: str,
    averaged: AveragedWeights | None = None,
    start_epoch: int = 0,
) -> Progress:
    """Load a checkpoint into model, optimizer and averages; a missing, foreign or broken one means a fresh start."""
    held = path and of_this_training(path, fingerprint, read_tensors, otherwise="checkpoint not used")
    if not held:
        return Progress(epoch=start_epoch)
    arrays, facts = held
    state = network_state(arrays, facts)
    model.load_state_dict({name[6:]: value for name, value in state.items() if name.startswith("model.")})
    for name, tensor in _beside(optimizer, averaged).items():
        # files have no tensors without dimensions
        tensor.copy_(state[name].view_as(tensor))
    progress = Progress(**{one.name: facts[one.name] for one in fields(Progress) if one.name in facts})
    log.info("resumed after %d epochs and %d batches", progress.epoch, progress.batch)
    return progress


def _beside(optimizer: Optimizer, averaged: AveragedWeights | None) -> dict[str, Tensor]:
    """What a training keeps beside the network, by name."""
    return optimizer.state | {f"averaged.{name}": held for name, held in (averaged.held if averaged else {}).items()}
