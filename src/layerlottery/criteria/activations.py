"""Criteria from what the blocks put out: HRank and expectABS."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block
from layerlottery.representation.features import captured
from layerlottery.settings import CriterionSettings

IMAGES_AT_A_TIME = 100


@torch.no_grad()
def reduced_outputs(
    model: nn.Module, blocks: list[Block], images: Tensor, reduce: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """`reduce` of each block's output (n, C, h, w) after its last ReLU, joined along n, in float64.

    Raises when an output is not finite, naming the first such block.
    """
    # the outputs of all blocks are large, so images go in parts; batch statistics are those of all images
    count = len(images) if model.training else IMAGES_AT_A_TIME
    parts: dict[str, list[Tensor]] = {block.name: [] for block in blocks}
    with captured(model, list(parts)) as held:
        for part in images.split(count):
            model(part)
            for name, reduced in parts.items():
                if not held[name].isfinite().all():
                    raise LayerLotteryError(f"block {name}: found outputs that are not finite; scores need finite ones")
                reduced.append(reduce(held[name]).double())
    return {name: torch.cat(reduced) for name, reduced in parts.items()}


def relative_rank(maps: Tensor) -> Tensor:
    """Rank of each map of (N, C, h, w), divided by the longer side, (N, C)."""
    ranks: Tensor = torch.linalg.matrix_rank(maps)
    return ranks / max(maps.shape[2:])


def hrank(
    model: nn.Module, blocks: list[Block], batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Mean rank of a block's output maps over images and channels (Lin et al. 2020).

    Divided by max(h, w), so that the stages' map sizes compare. Singular values below max(h, w) times
    float32's resolution times the largest count as zero.
    """
    ranks = reduced_outputs(model, blocks, batch[0], relative_rank)
    return {name: values.mean().item() for name, values in ranks.items()}


def expectabs(
    model: nn.Module, blocks: list[Block], batch: tuple[Tensor, Tensor], settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Mean absolute output of a block over images, channels and pixels (DropNet, Tan & Motani 2020)."""
    sizes = reduced_outputs(model, blocks, batch[0], lambda maps: maps.double().abs().mean(dim=(1, 2, 3)))
    return {name: values.mean().item() for name, values in sizes.items()}
