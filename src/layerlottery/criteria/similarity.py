"""Criteria from the penultimate features with and without a block: CKA and the consensus of eight metrics."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata
from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, remove_blocks
from layerlottery.representation import metrics
from layerlottery.representation.features import PENULTIMATE, features
from layerlottery.settings import CriterionSettings

BATCH_SIZE = 500
DECIMALS = 8  # distances that differ by less than rounding errors count as equal


def _penultimate(model: nn.Module, images: Tensor, *, called: str) -> Tensor:
    # batch statistics are those of all images, so these go in one batch
    batch_size = len(images) if model.training else BATCH_SIZE
    found = features(model, images, [PENULTIMATE], batch_size=batch_size, flatten=True)[PENULTIMATE]
    if not found.isfinite().all():
        raise LayerLotteryError(f"{called}: found penultimate features that are not finite; scores need finite ones")
    return found.double().cpu()


def with_and_without(model: nn.Module, blocks: list[Block], images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Penultimate features (N, features) of the network, and of the network less each block, float64.

    Raises when they are not finite, naming the block.
    """
    whole = _penultimate(model, images, called="the network")
    return whole, {
        block.name: _penultimate(
            remove_blocks(model, [block.name]), images, called=f"the network without block {block.name}"
        )
        for block in blocks
    }


def cka(
    model: nn.Module, blocks: list[Block], batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """1 − linear CKA of the features with and without the block (Pons et al. 2024); the lowest go.

    1 where the block's removal leaves features that no longer depend on the image.
    """
    images, labels = batch
    whole, without = with_and_without(model, blocks, images)
    return {name: metrics.cka(whole, found, labels.cpu()) for name, found in without.items()}


def consensus(
    model: nn.Module, blocks: list[Block], batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Sum of a block's ranks by eight dissimilarities of the features with and without it (Mugnaini et al. 2024).

    Rank 1 is the smallest dissimilarity; equal ones share their mean rank. The lowest sums go.
    """
    images, labels = batch
    whole, without = with_and_without(model, blocks, images)
    distances = [
        [metric(whole, found, labels.cpu()) for found in without.values()] for metric in metrics.METRICS.values()
    ]
    totals = rankdata(np.round(distances, DECIMALS), axis=1).sum(axis=0)
    return dict(zip(without, totals.tolist(), strict=True))
