"""A function of a user's own may return anything; only a finite number for each block is a score."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch

import layerlottery as ll
from layerlottery.errors import LayerLotteryError


def returning(values):
    """A criterion that gives the first value to the first block, and so on."""

    def mine(model, blocks, batches, *, seed):
        return {block.name: value for block, value in zip(blocks, values, strict=False)}

    return mine


NUMBERS = [
    3,
    0.5,
    np.float16(0.25),
    np.int64(7),
    Fraction(1, 8),
    Decimal("0.75"),
    torch.tensor(2.5, requires_grad=True),
]
NUMBERS += [torch.tensor([1.25], dtype=torch.float64), np.array([[6.0]]), torch.tensor(9)]


def test_numbers_of_all_kinds(make_network, make_batch):
    model = make_network(depth=38)
    found = list(ll.score(model, make_batch(), returning([*NUMBERS, *range(20, 90)])).values())
    assert found[: len(NUMBERS) + 1] == [3.0, 0.5, 0.25, 7.0, 0.125, 0.75, 2.5, 1.25, 6.0, 9.0, 20.0]


NO_NUMBERS = {
    "nan": math.nan, "inf": -math.inf, "a tensor of nan": torch.tensor(math.nan), "np.inf": np.float32("inf"),
    "a truth value": True, "np.bool_": np.True_, "a tensor of truth": torch.tensor(False), "text": "1.0",
    "complex": 1j, "a complex tensor": torch.tensor(1 + 0j), "two numbers": torch.ones(2), "a list": [1.0],
    "none": None, "too large a number": 10**400, "no content": torch.ones((), device="meta"), "a name": np.array("x"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_NUMBERS)
@pytest.mark.parametrize("call", ["score", "find_ticket"])
def test_what_is_no_finite_number_names_block_and_function(kind, call, make_network, make_batch):
    more = {"remove": 1} if call == "find_ticket" else {}
    returned = r"mine: returned \S+ for block stage1.1; allowed: a number$"
    with pytest.raises(LayerLotteryError, match=rf"{returned}|^block stage1.1: .*mine gave \S+; scores must be finite"):
        getattr(ll, call)(make_network(), make_batch(), returning([1.0, NO_NUMBERS[kind], *range(20)]), **more)


@pytest.mark.parametrize("returned", [[0.0] * 9, torch.ones(9), np.ones(9), None, {}, {"stage1.0": 1.0}, "scores"])
def test_what_is_no_mapping_of_all_blocks_is_refused(returned, make_network, make_batch):
    with pytest.raises(LayerLotteryError, match=r"returned .*; allowed: (a score|one) for each"):
        ll.score(make_network(), make_batch(), lambda model, blocks, batches, *, seed: returned)
