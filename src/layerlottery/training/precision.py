"""The type that convolutions and layers compute in: what is asked for, what `auto` means here, and what that costs."""

from __future__ import annotations

import logging
import time
from statistics import median

import torch
from torch.nn import functional as F

from layerlottery.config.training import TrainingSettings
from layerlottery.runtime.processor import prefers_bfloat16
from layerlottery.training.checkpoint import Progress

log = logging.getLogger(__name__)

BFLOAT16, FLOAT32, TF32 = "bfloat16", "float32", "tf32"
# of a measurement, each with both types
TURNS = 3


def products(settings: TrainingSettings, device: torch.device) -> str:
    """What a training that begins on this machine computes in, as it is recorded: float32, tf32 or bfloat16."""
    if settings.precision == TF32:
        # a processor rounds no factor to it
        return TF32 if device.type == "cuda" else FLOAT32
    if settings.precision != "auto":
        return settings.precision
    gpu = device.type == "cuda"
    faster = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else prefers_bfloat16()
    return BFLOAT16 if faster else FLOAT32


def autocast(kind: str, device: torch.device) -> torch.autocast:
    """What to compute in that type within; it may be entered again and again."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=kind == BFLOAT16)


def set_products(settings: TrainingSettings, device: torch.device) -> None:
    """Let a GPU round the factors of float32 products to TF32 if that is asked for, and else not."""
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = settings.precision == TF32


def settle(progress: Progress, settings: TrainingSettings, device: torch.device) -> torch.autocast:
    """What a training computes within from `progress` on, which from now on names the type.

    With `auto`, one that is resumed keeps the type that it began in: a network is trained in one. Says so where the
    machine would choose another, and warns where it is slow here.
    """
    kind, began = products(settings, device), progress.precision
    if settings.precision == "auto" and (progress.curve or progress.batch):
        began = began or _unnamed(device)
        if began != kind:
            log.info("precision: this training began in %s and goes on in it; auto is %s here", began, kind)
        kind = began
    progress.precision = kind
    if kind == BFLOAT16 and device.type == "cpu" and not prefers_bfloat16() and (times := slowdown()) > 1.05:
        log.warning(
            "training.precision: found bfloat16, which takes %.1f times as long as float32 on this processor "
            "(a few layers, measured now)",
            times,
        )
    return autocast(kind, device)


def _unnamed(device: torch.device) -> str:
    """What `auto` was when checkpoints did not name the type: on a processor bfloat16 with matrix units alone."""
    faster = device.type == "cuda" or torch.cpu.get_capabilities().get("amx_bf16")
    return BFLOAT16 if faster else FLOAT32


def slowdown() -> float:
    """How many times as long as in float32 a few layers and their gradients take in bfloat16; in tenths of a second."""
    # as in the three stages of a CIFAR ResNet: half as many pixels a side, twice as many channels
    stages = [(torch.zeros(4, width, 512 // width, 512 // width), width) for width in (16, 32, 64)]
    layers = [
        (maps.contiguous(memory_format=torch.channels_last).requires_grad_(), torch.zeros(width, width, 3, 3))
        for maps, width in stages
    ]

    def seconds(kind: str) -> float:
        began = time.process_time()
        for maps, kernel in layers:
            with autocast(kind, maps.device):
                normed = F.batch_norm(F.conv2d(maps, kernel.requires_grad_(), padding=1), None, None, training=True)
            torch.autograd.grad(F.relu(normed).sum(), [maps, kernel])
        return time.process_time() - began

    # in turns, of which the first warms up
    return median([seconds(BFLOAT16) / seconds(FLOAT32) for _ in range(1 + TURNS)][1:])
