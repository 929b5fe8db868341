"""From scores to the blocks that go: lowest first, two blocks stay in every stage. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from layerlottery.config.networks import MINIMUM_PER_STAGE
from layerlottery.errors import LayerLotteryError


def removal_order(blocks: Sequence[Mapping[str, Any]], *, minimum: int = MINIMUM_PER_STAGE) -> list[str]:
    """Names of all blocks that may go, first to last.

    `blocks` are {name, stage, removable, score} in network order. Equal scores go in network order; a block
    is passed over once its stage is down to `minimum` blocks (Jordao et al. 2023, section 3).
    """
    left = Counter(block["stage"] for block in blocks)
    order: list[str] = []
    for block in sorted((block for block in blocks if block["removable"]), key=lambda block: block["score"]):
        if left[block["stage"]] > minimum:
            left[block["stage"]] -= 1
            order.append(block["name"])
    return order


def select(blocks: Sequence[Mapping[str, Any]], removed: int, *, minimum: int = MINIMUM_PER_STAGE) -> list[str]:
    """The `removed` blocks with the lowest scores, in network order."""
    order = removal_order(blocks, minimum=minimum)
    if not 0 <= removed <= len(order):
        raise LayerLotteryError(f"removed: {removed} blocks can't be removed; this network gives 0 to {len(order)}")
    chosen = set(order[:removed])
    return [block["name"] for block in blocks if block["name"] in chosen]


def tied(blocks: Sequence[Mapping[str, Any]], removed_blocks: Sequence[str]) -> list[str]:
    """Kept blocks whose score equals a removed one's: the choice between them followed network order."""
    gone = {block["score"] for block in blocks if block["name"] in removed_blocks}
    return [
        block["name"]
        for block in blocks
        if block["removable"] and block["name"] not in removed_blocks and block["score"] in gone
    ]
