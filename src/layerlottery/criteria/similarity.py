"""Criteria from the penultimate features with and without a block: CKA and the consensus of eight metrics."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from layerlottery.config.criteria import CriterionSettings
from layerlottery.criteria.ablation import answers
from layerlottery.criteria.batches import Batches, each, parts
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block
from layerlottery.networks.features import PENULTIMATE, captured
from layerlottery.similarity import metrics

DECIMALS = 8  # distances that differ by less than rounding errors count as equal


@torch.no_grad()
def with_and_without(model: nn.Module, blocks: list[Block], batches: Batches) -> tuple[Tensor, dict[str, Tensor]]:
    """Penultimate features (N, features) of the network, and of the network less each block, float64.

    Raises when they are not finite, naming the block.
    """
    whole: list[Tensor] = []
    less: dict[str, list[Tensor]] = {block.name: [] for block in blocks}
    for images, _ in each(batches):
        # batch statistics are those of all images, so these go in one part
        together = any(module.training for module in model.modules())
        with captured(model, [PENULTIMATE]) as held:
            full, without = answers(
                model, blocks, parts(images, together=together), lambda _: held[PENULTIMATE].flatten(1)
            )
        whole.append(_finite(full, "the network"))
        for name, found in without.items():
            less[name].append(_finite(found, f"the network without block {name}"))
    return torch.cat(whole), {name: torch.cat(found) for name, found in less.items()}


def _finite(features: Tensor, called: str) -> Tensor:
    if not features.isfinite().all():
        raise LayerLotteryError(f"{called}: found penultimate features that are not finite; scores need finite ones")
    return features.double().cpu()


def _labels(batches: Batches) -> Tensor:
    return torch.cat([labels.cpu() for _, labels in each(batches)])


def cka(
    model: nn.Module, blocks: list[Block], batches: Batches, settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """1 − linear CKA of the features with and without the block (Pons et al. 2024); the lowest go.

    1 where the block's removal leaves features that no longer depend on the image.
    """
    whole, without = with_and_without(model, blocks, batches)
    labels = _labels(batches)
    return {name: metrics.cka(whole, found, labels) for name, found in without.items()}


def consensus(
    model: nn.Module, blocks: list[Block], batches: Batches, settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Sum of a block's ranks by eight dissimilarities of the features with and without it (Mugnaini et al. 2024).

    Rank 1 is the smallest dissimilarity; equal ones share their mean rank. The lowest sums go.
    """
    whole, without = with_and_without(model, blocks, batches)
    labels = _labels(batches)
    distances = [[metric(whole, found, labels) for found in without.values()] for metric in metrics.METRICS.values()]
    totals = rankdata(np.round(distances, DECIMALS), axis=1).sum(axis=0)
    return dict(zip(without, totals.tolist(), strict=True))
