"""A criterion of the user's own: called as `criterion(model, blocks, batches, *, seed, **options)`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from math import isfinite, prod
from typing import Any

import numpy as np
from torch import Tensor, nn

from layerlottery.config.extensions import Extension
from layerlottery.criteria.batches import Batches, is_one
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block


def scores_of(
    criterion: Extension | Callable[..., Any], model: nn.Module, blocks: Sequence[Block], batches: Batches, *, seed: int
) -> dict[str, float]:
    """The score of each block, in the blocks' order, by a function of the user's.

    It is given the copy of the network that is scored, its removable blocks and an iterable of batches (images,
    labels). Raises LayerLotteryError when it can't be called, and when it returns anything but a finite number for
    each block.
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
    """A finite number; truth values, text and complex numbers are none."""
    one = value
    with suppress(RuntimeError):  # of a tensor without content
        if isinstance(value, Tensor | np.ndarray | np.generic) and prod(value.shape) == 1:
            one = value.item()
    if isinstance(one, bool) or not isinstance(one, int | float | Fraction | Decimal):
        raise criterion.wrong(f"returned {type(one).__name__} for block {name}; allowed: a number")
    with suppress(OverflowError):
        if isfinite(number := float(one)):
            return number
    raise LayerLotteryError(f"block {name}: {criterion.where} gave {str(one)[:40]}; scores must be finite numbers")
