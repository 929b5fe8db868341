"""From a criterion's values to the blocks that go: the lowest, one at a time, successive ones or the deepest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby, product
from typing import Any

import numpy as np
import numpy.typing as npt

from layerlottery.config.networks import MINIMUM_PER_STAGE
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block


@dataclass(frozen=True)
class BlockRanking:
    """`raw`: the criterion's value of each removable block. `score`: what is sorted, the lowest goes first.

    `ties`: blocks, in network order, that network order alone ranks against others. `sets`: where fewer blocks are not
    always among more, the blocks that go, by their number as text; scores then choose nothing by themselves.
    """

    raw: dict[str, float]
    score: dict[str, float]
    ties: list[str]
    sets: dict[str, list[str]] | None = None


class EqualScoresError(LayerLotteryError):
    """All scores are equal."""


# by what messages call them, the names of blocks that go together
Spans = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class _Choice:
    """Spans that go together: how many, the sum of their values, and the blocks in them."""

    spans: int = 0
    total: float = 0.0
    blocks: tuple[str, ...] = ()

    def __add__(self, other: _Choice) -> _Choice:
        return _Choice(self.spans + other.spans, self.total + other.total, (*self.blocks, *other.blocks))

    @property
    def cost(self) -> tuple[int, float]:
        return self.spans, self.total


def _lowest_goes(values: dict[str, float], keep: str) -> dict[str, float]:
    return values if keep == "high" else {name: -value for name, value in values.items()}


def check_differ(values: Iterable[float] | npt.NDArray[Any], function: str, kind: str) -> None:
    """Raise if all of several values are equal: network order would then choose, not the criterion."""
    found = values if isinstance(values, np.ndarray) else np.array([*values])
    if len(found) > 1 and (found == found[0]).all():
        raise EqualScoresError(
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


def rank_deepest(blocks: Sequence[Block], values: dict[str, float]) -> BlockRanking:
    """The control of Gromov et al. (2024): from the end of the network on, whatever the values.

    A block's score is its place, from 0. The network's last block goes last of all, as their final layer stays.
    """
    names = [block.name for block in blocks]
    order = [name for name in (*reversed(names[:-1]), *names[-1:]) if name in values]
    return BlockRanking(values, {name: float(order.index(name)) for name in values}, [])


def spans_of(blocks: Sequence[Block]) -> dict[str, list[str]]:
    """All spans: successive removable blocks of one stage, one or more, by the block's name or `first to last`."""
    found: dict[str, list[str]] = {}
    for _, run in groupby(blocks, key=lambda block: (block.stage, block.removable)):
        names = [block.name for block in run if block.removable]
        for first, after in combinations(range(len(names) + 1), 2):
            span = names[first:after]
            found[span[0] if len(span) == 1 else f"{span[0]} to {span[-1]}"] = span
    return found


def rank_spans(
    blocks: Sequence[Block],
    spans: Spans,
    values: dict[str, float],
    *,
    keep: str,
    minimum: int = MINIMUM_PER_STAGE,
) -> BlockRanking:
    """For each number of blocks the span of so many with the lowest value, of `values` by the spans' names.

    Where no stage can lose so many and keep `minimum`, as few spans as it takes, and of these the ones whose values
    have the lowest sum. Equal ones go in network order. A block's score is its own value.
    """
    lowest, order = _lowest_goes(values, keep), [block.name for block in blocks]
    best = {0: _Choice()}
    for stage in dict.fromkeys(block.stage for block in blocks):
        names = [block.name for block in blocks if block.stage == stage]
        best = _joined(best, _best_in_stage(names, spans, lowest, most=max(0, len(names) - minimum)))
    sets = {str(number): sorted(best[number].blocks, key=order.index) for number in sorted(best) if number}
    single = {name: values[name] for name in order if name in values}
    return replace(rank_once(single, keep=keep), sets=sets)


def _best_in_stage(names: Sequence[str], spans: Spans, lowest: Mapping[str, float], *, most: int) -> dict[int, _Choice]:
    """The best choice among the spans of a stage, by its number of blocks, 0 to `most`."""
    # one entry for so many of the stage's first blocks
    best = [{0: _Choice()}]
    for place, name in enumerate(names, start=1):
        found = dict(best[-1])
        for called, span in spans.items():
            one = _Choice(1, lowest[called], tuple(span))
            for number, before in best[place - len(span)].items() if span[-1] == name else ():
                _keep_lower(found, number + len(span), before + one)
        best.append({number: choice for number, choice in found.items() if number <= most})
    return best[-1]


def _joined(left: Mapping[int, _Choice], right: Mapping[int, _Choice]) -> dict[int, _Choice]:
    found: dict[int, _Choice] = {}
    # of equal ones the earlier stage's
    for one, other in product(sorted(left, reverse=True), right):
        _keep_lower(found, one + other, left[one] + right[other])
    return found


def _keep_lower(found: dict[int, _Choice], number: int, choice: _Choice) -> None:
    if number not in found or choice.cost < found[number].cost:
        found[number] = choice
