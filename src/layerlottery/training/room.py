"""Where a training's images stay: on its device as far as they fit there, else on disk, streamed batch by batch."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence

import torch
from torch import nn

from layerlottery.config.training import TrainingSettings
from layerlottery.cost.network import step_memory
from layerlottery.data.batches import pass_size
from layerlottery.data.feed import AHEAD, Feed, Streamed, resident
from layerlottery.data.prepared import Shape, Split
from layerlottery.errors import LayerLotteryError
from layerlottery.runtime.lease import jobs_per_gpu
from layerlottery.words import human_size

log = logging.getLogger(__name__)

# the most device memory that images may take; no result depends on it
IMAGES = "LAYERLOTTERY_IMAGES_MIB"
# batches that a stream has there: those read in advance, the one in use, and the next on its way
BATCHES = AHEAD + 2
# what takes so small a part of a GPU leaves room for any training that fits at all: nothing is estimated then
SMALL = 1 / 4


def feeds(splits: Sequence[Split], model: nn.Module, settings: TrainingSettings, device: torch.device) -> list[Feed]:
    """A feed of each split. On a GPU those stay that fit beside the training and the splits before them.

    On a CPU decoded images are memory-mapped, and encoded ones are decoded when they are asked for. Raises
    LayerLotteryError where the device has no memory for the batches of a stream.
    """
    sizes = [len(split) * _bytes(split.shape) for split in splits]
    room = _room(splits[0].shape, sum(sizes), model, settings, device)
    found: list[Feed] = []
    for split, size in zip(splits, sizes, strict=True):
        fits = size <= room and (device.type != "cpu" or not split.is_encoded)
        if fits and device.type != "cpu":
            room -= size
        found.append(resident(split, device) if fits else Streamed(split, device))
    if streamed := [len(one) for one in found if isinstance(one, Streamed)]:
        log.info("%d images are streamed", sum(streamed))
    return found


def _room(shape: Shape, wanted: int, model: nn.Module, settings: TrainingSettings, device: torch.device) -> float:
    """Bytes that resident images may take."""
    most = _most(device)
    batch = max(settings.batch_size, pass_size(device))
    if wanted > most and most < (needed := BATCHES * batch * _bytes(shape)):
        raise LayerLotteryError(
            f"training.batch_size: found {settings.batch_size}; streaming {batch} images of {shape[2]}x{shape[1]} at a "
            f"time takes {human_size(needed)} of device memory, found {human_size(int(most))} for images; lower it, or "
            f"leave them more memory ({IMAGES}, other jobs on the GPU)"
        )
    if device.type == "cpu" or wanted <= SMALL * most or os.environ.get(IMAGES):
        return most
    training = step_memory(model, shape, batch_size=settings.batch_size, copies=settings.held_copies)
    return most - training


def _most(device: torch.device) -> float:
    """Bytes of a device that images and training may take together; those that are stated are the images' alone."""
    if stated := os.environ.get(IMAGES):
        return _stated(stated)
    if device.type == "cpu":
        return math.inf
    free, total = torch.cuda.mem_get_info(device)
    return min(free, total / jobs_per_gpu())


def _stated(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise LayerLotteryError(f"{IMAGES}: found {text!r}; allowed: a number above 0")
    return number * (1 << 20)


def _bytes(shape: Shape) -> int:
    return math.prod(shape)
