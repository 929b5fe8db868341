"""The KL criterion: how far the predictions move when a block is switched off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block
from layerlottery.settings import CriterionSettings


@contextmanager
def switched_off(model: nn.Module, name: str) -> Iterator[None]:
    """The network with one residual branch giving 0, as if the block's last BatchNorm had weight and bias 0.

    The last one is the last that the block defines: bn2 of a basic block, bn3 of a bottleneck; a block with an
    identity shortcut has none after it. Such a block then passes on its input, which is not negative. Raises
    when the block has no BatchNorm.
    """
    norms = [module for module in model.get_submodule(name).modules() if isinstance(module, nn.BatchNorm2d)]
    if not norms:
        raise LayerLotteryError(f"block {name}: found no BatchNorm; switching a block off needs one at its end")
    handle = norms[-1].register_forward_hook(lambda module, given, out: torch.zeros_like(out))
    try:
        yield
    finally:
        handle.remove()


def _log_probabilities(model: nn.Module, images: Tensor) -> Tensor:
    logits: Tensor = model(images)
    return F.log_softmax(logits.double(), dim=1)


@torch.no_grad()
def kl(
    model: nn.Module, blocks: list[Block], batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """KL(p ‖ q) in nats, mean over images (CURL, Luo & Wu 2020).

    p is the softmax output of the full network, q that with the block switched off.
    """
    images = batch[0]
    full = _log_probabilities(model, images)
    scores = {}
    for block in blocks:
        with switched_off(model, block.name):
            without = _log_probabilities(model, images)
        scores[block.name] = F.kl_div(without, full, reduction="batchmean", log_target=True).item()
    return scores
