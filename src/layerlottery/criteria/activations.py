"""Criteria from what the blocks put out: HRank and expectABS."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from layerlottery.criteria.scoring import Scoring, criterion
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.features import captured

# values of maps whose ranks are found together: their float64 products stay in a core's cache
CACHED_VALUES = 2**17


@torch.no_grad()
def reduced_outputs(given: Scoring, reduce: Callable[[Tensor], Tensor], *, spatial: bool = False) -> dict[str, Tensor]:
    """`reduce` of each block's output (n, C, …) after its last activation, joined along n, in float64.

    Channels come first, wherever the network has them. Raises when an output is not finite, or when it is no map
    (n, C, h, w) where a `spatial` one is needed, naming the first such block.
    """
    model, found = given.model, {block.name: list[Tensor]() for block in given.blocks}
    axes = {block.name: block.channel_axis for block in given.blocks}

    def read(name: str, output: Tensor) -> Tensor:
        maps = output.movedim(axes[name], 1)
        _check(name, maps, spatial=spatial)
        return reduce(maps).double()

    with captured(model, list(found), read) as held:
        for part in itertools.chain.from_iterable(given.parts()):
            model(part)
            for name, reduced in found.items():
                reduced.append(held[name])
    return {name: torch.cat(reduced) for name, reduced in found.items()}


def _check(name: str, maps: Tensor, *, spatial: bool) -> None:
    if spatial and maps.dim() != 4:
        shape = tuple(maps.shape[1:])
        raise LayerLotteryError(f"block {name}: puts out {shape} for an image; hrank takes the ranks of maps (C, h, w)")
    # one pass and no copy: a sum is finite where all is, unless it overflows
    if not maps.sum().isfinite() and not maps.isfinite().all():
        raise LayerLotteryError(f"block {name}: found outputs that are not finite; scores need finite ones")


def relative_rank(maps: Tensor) -> Tensor:
    """Rank of each map of (N, C, h, w), divided by the longer side, (N, C)."""
    matrices = maps.contiguous().flatten(0, 1)
    ranks = torch.full((len(matrices),), min(maps.shape[2:]), device=maps.device)
    unsure = ~_surely_full_rank(matrices)
    wide = matrices if matrices.dtype in (torch.float32, torch.float64) else matrices.float()
    ranks[unsure] = torch.linalg.matrix_rank(wide[unsure])
    return ranks.view(maps.shape[:2]) / max(maps.shape[2:])


def _surely_full_rank(matrices: Tensor) -> Tensor:
    """Where `torch.linalg.matrix_rank` of matrices (n, h, w) can but find full rank, (n,); a few more may have it.

    A Cholesky factorisation of A Aᵀ - s I that succeeds proves that the smallest squared singular value of A
    exceeds s, but for the rounding errors of float64, (h + w) 1e-16 ‖A‖² (Higham 2002, theorems 10.3 and 10.7). Full
    rank needs max(h, w) times float32's resolution times the largest singular value; s is twice that or more, squared,
    as singular values in float32 are themselves off by up to as much. Costs a quarter of the singular values.
    """
    if matrices.dtype != torch.float32:
        # float64 would have to be squared in more digits than there are
        return torch.zeros(len(matrices), dtype=torch.bool, device=matrices.device)
    height, width = matrices.shape[1:]
    threshold = (2 * max(height, width) * torch.finfo(torch.float32).eps) ** 2
    at_a_time = max(1, CACHED_VALUES // (height * width)) if matrices.is_cpu else len(matrices)
    found = []
    for some in matrices.split(max(1, at_a_time)):
        long = (some if height <= width else some.mT).double()
        products = torch.bmm(long, long.mT)
        squares = products.diagonal(dim1=1, dim2=2)
        squares -= threshold * squares.sum(dim=1, keepdim=True)
        # the upper factor, as its lower half is cleared in less time
        found.append(torch.linalg.cholesky_ex(products, upper=True).info == 0)
    return torch.cat(found)


@criterion(names={"hrank": {"batchnorm": "eval"}}, needs="forward")
def hrank(given: Scoring) -> dict[str, float]:
    """Mean rank of a block's output maps over images and channels (Lin et al. 2020).

    Divided by max(h, w), so that the stages' map sizes compare. Singular values below max(h, w) times
    float32's resolution times the largest count as zero.
    """
    ranks = reduced_outputs(given, relative_rank, spatial=True)
    return {name: values.mean().item() for name, values in ranks.items()}


@criterion(names={"expectabs": {"batchnorm": "eval"}}, needs="forward")
def expectabs(given: Scoring) -> dict[str, float]:
    """Mean absolute output of a block over images, channels and pixels (DropNet, Tan & Motani 2020)."""
    return {name: values.mean().item() for name, values in reduced_outputs(given, _mean_size).items()}


def _mean_size(maps: Tensor) -> Tensor:
    """Mean absolute value of each of (N, …), (N,)."""
    axes, sizes = tuple(range(1, maps.dim())), maps.abs()
    # torch adds up float32 in pairs, off by 1e-7 and at a third of the time; other types are rounded at the end
    sums = sizes.sum(axes) if maps.dtype == torch.float32 else sizes.sum(axes, dtype=torch.float64)
    if not sums.isfinite().all():
        sums = sizes.sum(axes, dtype=torch.float64)
    return sums.double() / maps.shape[1:].numel()
