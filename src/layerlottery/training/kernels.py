"""Cheaper training on a processor: kept memory, and the fast forms of networks."""

from __future__ import annotations

import ctypes

from torch import nn

from layerlottery.networks.resnet import TwoForms

# mallopt's names for two settings, and the largest value that glibc takes for the second
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD = 32 * 2**20


def keep_freed_memory() -> None:
    """Let this process reuse the memory of freed tensors of up to 32 MiB and give none back; glibc alone is asked.

    Without it every feature map is new memory, which the system clears page by page: 11,000 page faults a step.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        mallopt(TRIM_THRESHOLD, 2**31 - 1)


def accelerate(model: nn.Module) -> nn.Module:
    """Switch the modules of `model` that have two forms to the fast one, in place; its state and names stay."""
    for module in model.modules():
        if isinstance(module, TwoForms):
            module.fast = True
    return model
