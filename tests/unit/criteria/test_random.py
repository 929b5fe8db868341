"""The random controls: uniform, spread over stages, repeatable."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from layerlottery.config.criteria import CRITERIA
from layerlottery.criteria.score import score_blocks
from layerlottery.criteria.scoring import Scoring, values
from layerlottery.networks.blocks import Block, residual_blocks
from layerlottery.networks.selection import removal_order
from layerlottery.store.hashing import derived_seed


def spread_rows(sizes, seed, settings, **changes):
    """Rows of a network with stages of these many blocks, scored by random_spread."""
    blocks = [Block(f"{stage}.{number}", stage, number > 0) for stage, size in sizes.items() for number in range(size)]
    removable = [block for block in blocks if block.removable]
    chosen = settings("random_spread", **changes)
    raw = values(Scoring(None, None, chosen, removable, seed=seed))
    sign = 1 if chosen.keep == "high" else -1
    return [
        {"name": b.name, "stage": b.stage, "removable": b.removable, "score": sign * raw.get(b.name, math.nan)}
        for b in blocks
    ]


def test_random_is_uniform_and_follows_the_seed(settings):
    blocks = [Block(f"a.{number}", "a", True) for number in range(6)]
    draws = [values(Scoring(None, None, settings("random"), blocks, seed=seed)) for seed in range(300)]
    assert draws[0] == values(Scoring(None, None, settings("random"), blocks, seed=0))
    drawn = np.array([list(draw.values()) for draw in draws])
    # five standard deviations of a mean of uniform numbers
    assert abs(drawn.mean() - 0.5) < 5 / math.sqrt(12 * drawn.size)
    first = np.bincount(drawn.argmin(axis=1), minlength=6)
    # each of the six blocks goes first in about a sixth of the draws
    assert (abs(first - 50) < 5 * math.sqrt(300 * (1 / 6) * (5 / 6))).all()


def test_random_is_one_stream_in_network_order(make_network, make_batch):
    generator = torch.Generator().manual_seed(derived_seed("random criterion", 11))
    expected = [torch.rand((), generator=generator, dtype=torch.float64).item() for _ in range(6)]
    scores = score_blocks(make_network(width=2), make_batch(), CRITERIA["random"], seed=11)
    assert list(scores.values()) == expected


@pytest.mark.parametrize("keep", ["high", "low"])
@pytest.mark.parametrize("sizes", [{"a": 5, "b": 5, "c": 5}, {"a": 3, "b": 9, "c": 5}, {"a": 2, "b": 4}, {"a": 7}])
def test_stages_lose_equally_many_as_long_as_they_can(sizes, keep, settings):
    for seed in range(30):
        rows = spread_rows(sizes, seed, settings, keep=keep)
        order = removal_order(rows)
        assert len(order) == sum(size - 2 for size in sizes.values())
        for removed in range(len(order) + 1):
            lost = Counter(name[0] for name in order[:removed])
            # only a stage that has no more to give may lag behind
            able = [lost[stage] for stage, size in sizes.items() if lost[stage] < size - 2]
            assert all(max(lost.values(), default=0) - count <= 1 for count in able)


def test_spread_draws_stages_and_blocks_uniformly(settings):
    draws = 600
    first, second = Counter(), Counter()
    for seed in range(draws):
        order = removal_order(spread_rows({"a": 4, "b": 4, "c": 4}, seed, settings))
        first[order[0]] += 1
        second[order[3][0]] += 1
    # nine blocks can go first, three stages can open the second round
    assert len(first) == 9
    assert len(second) == 3
    assert all(abs(count - draws / 9) < 5 * math.sqrt(draws * (1 / 9) * (8 / 9)) for count in first.values())
    assert all(abs(count - draws / 3) < 5 * math.sqrt(draws * (1 / 3) * (2 / 3)) for count in second.values())


def test_spread_follows_the_seed(make_network, make_batch):
    model, batch = make_network(depth=32, width=2), make_batch()
    once, again, other = (score_blocks(model, batch, CRITERIA["random_spread"], seed=seed) for seed in (3, 3, 4))
    assert once == again != other
    assert sorted(once.values()) == list(range(1, 13))
    assert list(once) == [block.name for block in residual_blocks(model, keep_first=True) if block.removable]
