"""A criterion of the user's own: called as `criterion(model, blocks, batches, *, seed, **options)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from layerlottery.config.extensions import Extension
from layerlottery.criteria.batches import Batches, is_one
from layerlottery.networks.blocks import Block


def scores_of(
    criterion: Extension | Callable[..., Any], model: nn.Module, blocks: Sequence[Block], batches: Batches, *, seed: int
) -> dict[str, float]:
    """The score of each block, in the blocks' order, by a function of the user's.

    It is given the copy of the network that is scored, its removable blocks and an iterable of batches (images,
    labels). Raises LayerLotteryError when it can't be called, and when it returns anything but a number for each
    block.
    """
    if not isinstance(criterion, Extension):
        criterion = Extension(criterion, getattr(criterion, "__qualname__", repr(criterion)))
    given = criterion(model, list(blocks), [batches] if is_one(batches) else batches, seed=seed)
    allowed = "allowed: a score for each block, {name: number}"
    criterion.check(isinstance(given, Mapping), type(given).__name__, allowed)
    names = [block.name for block in blocks]
    for name in names:
        criterion.check(name in given, f"no score for block {name}", f"allowed: one for each of {len(names)}")
    if unknown := [name for name in given if name not in names]:
        raise criterion.wrong(f"returned a score for {unknown[0]!r}, which is none of the blocks that it was given")
    return {name: _number(criterion, name, given[name]) for name in names}


def _number(criterion: Extension, name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise criterion.wrong(f"returned {type(value).__name__} for block {name}; allowed: a number") from None
