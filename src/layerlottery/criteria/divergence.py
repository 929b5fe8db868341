"""The KL criterion: how far the predictions move when a block is removed."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from layerlottery.config.criteria import CriterionSettings
from layerlottery.criteria.ablation import answers
from layerlottery.criteria.batches import Batches, each, parts
from layerlottery.networks.blocks import Block


def _log_probabilities(logits: Tensor) -> Tensor:
    return F.log_softmax(logits.double(), dim=1)


@torch.no_grad()
def kl(
    model: nn.Module, blocks: list[Block], batches: Batches, settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """KL(p ‖ q) in nats, mean over images (CURL, Luo & Wu 2020).

    p is the softmax output of the full network, q that without the block.
    """
    sums, count = {block.name: 0.0 for block in blocks}, 0
    for images, _ in each(batches):
        # batch statistics are those of all images
        full, without = answers(model, blocks, parts(images, together=_in_batch_mode(model)), _log_probabilities)
        for name, found in without.items():
            sums[name] += F.kl_div(found, full, reduction="sum", log_target=True).item()
        count += len(images)
    return {name: value / count for name, value in sums.items()}


def _in_batch_mode(model: nn.Module) -> bool:
    return any(module.training for module in model.modules())
