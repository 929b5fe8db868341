"""Criteria from what the blocks put out: HRank and expectABS."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from layerlottery.criteria.batches import Batches, each, parts
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block
from layerlottery.representation.features import captured, channel_axis
from layerlottery.settings import CriterionSettings


@torch.no_grad()
def reduced_outputs(
    model: nn.Module,
    blocks: list[Block],
    batches: Batches,
    reduce: Callable[[Tensor], Tensor],
    *,
    spatial: bool = False,
) -> dict[str, Tensor]:
    """`reduce` of each block's output (n, C, …) after its last activation, joined along n, in float64.

    Channels come first, wherever the network has them. Raises when an output is not finite, or when it is no map
    (n, C, h, w) where a `spatial` one is needed, naming the first such block.
    """
    found: dict[str, list[Tensor]] = {block.name: [] for block in blocks}
    axes = {block.name: channel_axis(model.get_submodule(block.name), block.shape) for block in blocks}
    # the outputs of all blocks are large, so images go in parts; batch statistics are those of all images
    together = any(module.training for module in model.modules())
    with captured(model, list(found)) as held:
        for images, _ in each(batches):
            for part in parts(images, together=together):
                model(part)
                for name, reduced in found.items():
                    maps = held[name].movedim(axes[name], 1)
                    _check(name, maps, spatial=spatial)
                    reduced.append(reduce(maps).double())
    return {name: torch.cat(reduced) for name, reduced in found.items()}


def _check(name: str, maps: Tensor, *, spatial: bool) -> None:
    if spatial and maps.dim() != 4:
        shape = tuple(maps.shape[1:])
        raise LayerLotteryError(f"block {name}: puts out {shape} for an image; hrank takes the ranks of maps (C, h, w)")
    if not maps.isfinite().all():
        raise LayerLotteryError(f"block {name}: found outputs that are not finite; scores need finite ones")


def relative_rank(maps: Tensor) -> Tensor:
    """Rank of each map of (N, C, h, w), divided by the longer side, (N, C)."""
    ranks: Tensor = torch.linalg.matrix_rank(maps)
    return ranks / max(maps.shape[2:])


def hrank(
    model: nn.Module, blocks: list[Block], batches: Batches, settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Mean rank of a block's output maps over images and channels (Lin et al. 2020).

    Divided by max(h, w), so that the stages' map sizes compare. Singular values below max(h, w) times
    float32's resolution times the largest count as zero.
    """
    ranks = reduced_outputs(model, blocks, batches, relative_rank, spatial=True)
    return {name: values.mean().item() for name, values in ranks.items()}


def expectabs(
    model: nn.Module, blocks: list[Block], batches: Batches, settings: CriterionSettings, *, seed: int
) -> dict[str, float]:
    """Mean absolute output of a block over images, channels and pixels (DropNet, Tan & Motani 2020)."""
    sizes = reduced_outputs(model, blocks, batches, lambda maps: maps.double().abs().flatten(1).mean(dim=1))
    return {name: values.mean().item() for name, values in sizes.items()}
