"""How much is to go: the one target of find_ticket, and the blocks that it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import index
from typing import Any, SupportsFloat

import numpy as np
import torch
from torch import Tensor

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.selection import removal_order, select

# what find_ticket's targets were called once
OLD_TARGETS = {"density": "remove", "flops": "remove_flops", "params": "remove_params"}
Rows = Sequence[Mapping[str, Any]]


def only_target(targets: Mapping[str, Any], old: Mapping[str, Any]) -> tuple[str, float]:
    """The one target that is given; raises LayerLotteryError unless there is one, and a share is from 0 to 1."""
    for name in old:
        if name not in OLD_TARGETS:
            raise LayerLotteryError(f"{name}: unknown argument; allowed: {', '.join(targets)}")
        raise LayerLotteryError(f"{name}: now called {OLD_TARGETS[name]}")
    found = {key: value for key, value in targets.items() if value is not None}
    if len(found) != 1:
        raise LayerLotteryError(f"target: found {', '.join(found) or 'none'}; allowed: one of {', '.join(targets)}")
    ((key, value),) = found.items()
    if key == "remove":
        if (blocks := whole(value)) is None:
            shares = "; a share goes with remove_flops or remove_params" if isinstance(value, float) else ""
            raise LayerLotteryError(f"remove: found {value!r}; allowed: a whole number of blocks{shares}")
        return key, blocks
    number = _real(value)
    if not 0 <= number <= 1:
        # 1.5 is hardly one and a half percent
        meant = f"; did you mean {number / 100:g}?" if 2 <= number <= 100 else ""
        raise LayerLotteryError(f"{key}: found {value!r}; allowed: a share from 0 to 1{meant}")
    return key, number


def check_minimum(value: Any) -> None:
    """Raise LayerLotteryError unless it is a number of blocks that a stage may keep."""
    if (blocks := whole(value)) is None or blocks < 0:
        raise LayerLotteryError(f"minimum_per_stage: found {value!r}; allowed: a whole number from 0")


def whole(value: Any) -> int | None:
    """A whole number, also NumPy's and torch's, as Python's; None for anything else, truth values and arrays too."""
    try:
        return None if _is_truth(value) else index(value)
    except TypeError:
        return None


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool | np.bool_) or (isinstance(value, Tensor) and value.dtype == torch.bool)


def _real(value: Any) -> float:
    """Likewise a real number; nan for anything else, and for text."""
    try:
        return float(value) if isinstance(value, SupportsFloat) and not _is_truth(value) else math.nan
    except (TypeError, ValueError, RuntimeError):
        # arrays and tensors of several numbers
        return math.nan


def chosen(
    rows: Rows,
    key: str,
    target: float,
    *,
    minimum: int,
    sets: Mapping[str, Sequence[str]] | None,
    share: Callable[[Sequence[str]], float],
) -> list[str]:
    """The blocks that a target takes, as few as reach a share; `share` says how much goes with some blocks.

    `rows` are {name, stage, removable, score}. Raises LayerLotteryError for a target that is out of reach, with the
    minimum_per_stage that reaches it.
    """
    most = len(removal_order(rows, minimum=minimum))
    if key == "remove":
        if not 0 <= target <= most:
            hint = _hint(rows, lambda names: len(names) >= target, lambda names: "", minimum)
            raise LayerLotteryError(f"remove: found {target}; this network allows 0 to {most} blocks{hint}")
        return select(rows, int(target), minimum=minimum, sets=sets)
    reached = 0.0
    for number in range(most + 1):
        names = select(rows, number, minimum=minimum, sets=sets)
        reached = share(names)
        if target <= reached:
            return names
    hint = _hint(rows, lambda names: share(names) >= target, lambda names: f", {share(names):.4f} in all", minimum)
    raise LayerLotteryError(
        f"{key}: found {target}; removing all {most} blocks that may go takes {reached:.4f} away{hint}"
    )


def _hint(
    rows: Rows, reaches: Callable[[Sequence[str]], bool], told: Callable[[Sequence[str]], str], minimum: int
) -> str:
    """The largest minimum_per_stage below this one that reaches the target, or 0 if it lets more go; or nothing."""
    for lower in range(minimum - 1, -1, -1):
        names = removal_order(rows, minimum=lower)
        if reaches(names) or (lower == 0 and len(names) > len(removal_order(rows, minimum=minimum))):
            return f"; minimum_per_stage={lower} allows {len(names)}{told(names)}"
    return ""
