"""Test images through a network, in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from layerlottery.data.batches import pass_size
from layerlottery.data.prepared import Images, Labels, Stored


def to_unit_interval(images: Images, device: torch.device) -> Tensor:
    """uint8 (N, C, H, W) to float32 in [0, 1] on `device`, channels last."""
    # copied, for a memory map may not be written to and torch would warn
    held = torch.from_numpy(np.array(images)).to(device)
    return held.float().div_(255).contiguous(memory_format=torch.channels_last)


def batches(images: Stored, device: torch.device, *, batch_size: int) -> Iterator[Tensor]:
    """Images (N, C, H, W) as float batches in [0, 1], in order."""
    for start in range(0, len(images), batch_size):
        yield to_unit_interval(images[start : start + batch_size], device)


def evaluate_logits(
    model: nn.Module, images: Stored, device: torch.device, *, batch_size: int | None = None
) -> npt.NDArray[np.float32]:
    """Logits (N, classes), float32, of a model in eval mode for uint8 images (N, C, H, W); N is at least 1.

    Memory is that of one batch, also where `images` is a memory map. None takes the fastest batch size.
    """
    size = batch_size or pass_size(device)
    with torch.inference_mode():
        logits = torch.cat([model(batch).float() for batch in batches(images, device, batch_size=size)])
    return logits.cpu().numpy()


def right(logits: npt.NDArray[np.floating[Any]], labels: Labels) -> npt.NDArray[np.bool_]:
    """Which images' largest logit is their label's, (N,); a diverged network's NaN counts as wrong."""
    return np.asarray((logits.argmax(axis=1) == labels) & np.isfinite(logits).all(axis=1))
