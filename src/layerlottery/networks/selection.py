"""From scores to the blocks, filters or weights that go, lowest first. Imports no torch."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from layerlottery.config.networks import MINIMUM_PER_STAGE
from layerlottery.errors import LayerLotteryError

Array = npt.NDArray[Any]
Keep = npt.NDArray[np.bool_]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


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


def select(
    blocks: Sequence[Mapping[str, Any]],
    removed: int,
    *,
    minimum: int = MINIMUM_PER_STAGE,
    sets: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """The `removed` blocks with the lowest scores, in network order.

    Or the set of so many, where a selection is not nested: `sets` are names of blocks by their number, as text.
    """
    order = removal_order(blocks, minimum=minimum)
    if not 0 <= removed <= len(order):
        raise LayerLotteryError(f"removed: {removed} blocks can't be removed; this network gives 0 to {len(order)}")
    chosen = set(order[:removed] if sets is None or not removed else sets.get(str(removed), ()))
    names = [block["name"] for block in blocks if block["removable"] and block["name"] in chosen]
    if len(names) != removed:
        raise LayerLotteryError(f"sets: found no set of {removed} blocks that can be removed")
    return names


def tied(
    blocks: Sequence[Mapping[str, Any]], removed_blocks: Sequence[str], *, sets: Mapping[str, Any] | None = None
) -> list[str]:
    """Kept blocks whose score equals a removed one's: the choice between them followed network order.

    None where whole sets were chosen, for what single blocks score did not decide.
    """
    if sets is not None:
        return []
    gone = {block["score"] for block in blocks if block["name"] in removed_blocks}
    return [
        block["name"]
        for block in blocks
        if block["removable"] and block["name"] not in removed_blocks and block["score"] in gone
    ]


def filter_count(tensors: Mapping[str, Array]) -> int:
    """Convolution filters in a network's state, those of projections included."""
    return sum(len(array) for array in tensors.values() if array.ndim == 4)


def parameter_count(tensors: Mapping[str, Array]) -> int:
    """Trained parameters in a network's state: all but BatchNorm's statistics."""
    return sum(array.size for name, array in tensors.items() if not name.endswith(STATISTICS))


def choose_filters(groups: Sequence[Mapping[str, Any]], *, total: int, budget: int) -> list[Mapping[str, Any]]:
    """Groups whose removal brings `total` convolution filters as close as possible to `budget`.

    `groups` are {layer, index, filters, score} in network order. The lowest scores go first, equal ones in
    network order; a group that would take too many is passed over, and so is the last one of a layer.
    """
    widths = Counter(group["layer"] for group in groups)
    fewest = sum({group["layer"]: group["filters"] for group in groups}.values())
    if not fewest <= budget <= total:
        raise LayerLotteryError(f"budget: found {budget} filters; this network allows {fewest} to {total}")
    excess, gone, passed = total - budget, [], []
    for group in sorted(groups, key=lambda group: group["score"]):
        if group["filters"] > excess or widths[group["layer"]] == 1:
            passed.append(group)
            continue
        widths[group["layer"]] -= 1
        excess -= group["filters"]
        gone.append(group)
    # one more may leave fewer filters than the budget, and still lie closer to it
    closer = [group for group in passed if widths[group["layer"]] > 1 and group["filters"] < 2 * excess]
    return [*gone, *sorted(closer, key=lambda group: group["filters"])[:1]]


def removal_order_of_filters(groups: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """All groups that may go, the lowest score first, equal ones in network order; one of each layer stays."""
    left = Counter(group["layer"] for group in groups)
    order = []
    for group in sorted(groups, key=lambda group: group["score"]):
        if left[group["layer"]] > 1:
            left[group["layer"]] -= 1
            order.append(group)
    return order


def closest(target: int, most: int, cost: Callable[[int], int]) -> int:
    """The size, 0 to `most`, whose cost comes closest to the target; costs fall with the size."""
    after = bisect_left(range(most), -target, key=lambda size: -cost(size))
    return min((after, max(0, after - 1)), key=lambda size: abs(cost(size) - target))


def tied_filters(groups: Sequence[Mapping[str, Any]], gone: Sequence[Mapping[str, Any]]) -> int:
    """Kept groups whose score equals a removed one's."""
    scores = {group["score"] for group in gone}
    removed_blocks = {(group["layer"], group["index"]) for group in gone}
    return sum(group["score"] in scores and (group["layer"], group["index"]) not in removed_blocks for group in groups)


def choose_weights(scores: Mapping[str, Array], *, total: int, budget: int) -> tuple[dict[str, Keep], int]:
    """Masks (bool, true stays) that leave `budget` of a network's `total` parameters, and how many kept weights tie.

    The lowest scores of all layers together go first, equal ones in the order of `scores`.
    """
    flat = np.concatenate([array.ravel() for array in scores.values()])
    count = total - budget
    if not 0 <= count <= flat.size:
        raise LayerLotteryError(
            f"budget: found {budget} parameters; this network allows {total - flat.size} to {total}"
        )
    order = np.argsort(flat, kind="stable")
    keep = np.ones(flat.size, dtype=bool)
    keep[order[:count]] = False
    tied = int((flat[order[count:]] == flat[order[count - 1]]).sum()) if count else 0
    ends = np.cumsum([array.size for array in scores.values()])[:-1]
    parts = np.split(keep, ends)
    return {name: part.reshape(scores[name].shape) for name, part in zip(scores, parts, strict=True)}, tied
