"""From a criterion's values to the order in which blocks go: all at once, or one block at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from layerlottery.config.networks import MINIMUM_PER_STAGE
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block


@dataclass(frozen=True)
class BlockRanking:
    """`raw`: the criterion's value of each removable block. `score`: what is sorted, the lowest goes first.

    `ties`: blocks, in network order, that network order alone ranks against others.
    """

    raw: dict[str, float]
    score: dict[str, float]
    ties: list[str]


def _lowest_goes(values: dict[str, float], keep: str) -> dict[str, float]:
    return values if keep == "high" else {name: -value for name, value in values.items()}


def check_differ(values: Iterable[float] | npt.NDArray[Any], function: str, kind: str) -> None:
    """Raise if all of several values are equal: network order would then choose, not the criterion."""
    found = values if isinstance(values, np.ndarray) else np.array([*values])
    if len(found) > 1 and (found == found[0]).all():
        raise LayerLotteryError(
            f"criterion: {function} gave all {len(found)} {kind} the same value, {found[0]}, and can't tell them "
            "apart; a last layer that starts at zero, for one, has no gradient and no answer to compare"
        )


def rank_once(values: dict[str, float], *, keep: str) -> BlockRanking:
    """The values themselves, their sign turned where the low ones survive."""
    counts = Counter(values.values())
    ties = [name for name, value in values.items() if counts[value] > 1]
    return BlockRanking(values, _lowest_goes(values, keep), ties)


def may_go(blocks: Sequence[Block], gone: Collection[str] = (), *, minimum: int = MINIMUM_PER_STAGE) -> list[str]:
    """Removable blocks of the stages that still hold more than `minimum` blocks when some are gone, in their order."""
    left = Counter(block.stage for block in blocks if block.name not in gone)
    return [
        block.name for block in blocks if block.removable and block.name not in gone and left[block.stage] > minimum
    ]


def rank_one_by_one(
    blocks: Sequence[Block],
    values: dict[str, float],
    evaluate: Callable[[list[str]], dict[str, float]],
    *,
    keep: str,
    minimum: int = MINIMUM_PER_STAGE,
) -> BlockRanking:
    """Remove the lowest block that may go, evaluate the smaller network, and so on until none may go.

    `values` are those of the whole network, `evaluate` gives those of the network less the named blocks. A block's
    score is the round (from 0) of its removal, or the number of rounds if it stays; its raw value is the last that it
    had. Ties are blocks that were equally low when one of them went.
    """
    raw = dict(values)
    order: list[str] = []
    tied: set[str] = set()
    while going := may_go(blocks, order, minimum=minimum):
        now = _lowest_goes({name: raw[name] for name in going}, keep)
        lowest = [name for name in going if now[name] == min(now.values())]
        tied.update(lowest if len(lowest) > 1 else [])
        order.append(lowest[0])
        raw |= evaluate(order)
    rounds = {name: float(number) for number, name in enumerate(order)}
    score = {name: rounds.get(name, float(len(order))) for name in raw}
    return BlockRanking(raw, score, [name for name in raw if name in tied])
