"""The order in which blocks go, on hand-made scores."""

import pytest

from layerlottery.errors import LayerLotteryError
from layerlottery.networks.selection import removal_order, select, tied


def rows(*blocks):
    return [
        {"name": f"{stage}.{number}", "stage": stage, "removable": number > 0, "score": score}
        for stage, scores in blocks
        for number, score in enumerate(scores)
    ]


BLOCKS = rows(("a", [None, 1.0, 5.0, 2.0]), ("b", [None, 3.0, 4.0]))


def test_lowest_go_first_and_two_stay_in_each_stage():
    # a.2 would be third of stage a, which is down to two; b.2 likewise
    assert removal_order(BLOCKS) == ["a.1", "a.3", "b.1"]


def test_selection_is_given_in_network_order():
    assert select(BLOCKS, 3) == ["a.1", "a.3", "b.1"]
    assert select(rows(("a", [None, 9.0, 5.0, 7.0]), ("b", [None, 1.0, 2.0])), 2) == ["a.2", "b.1"]
    assert select(BLOCKS, 0) == []


def test_a_smaller_minimum_lets_more_go():
    assert removal_order(BLOCKS, minimum=1) == ["a.1", "a.3", "b.1", "b.2", "a.2"]


def test_more_removed_than_the_network_gives():
    with pytest.raises(LayerLotteryError, match="removed: 4 blocks can't be removed; this network gives 0 to 3"):
        select(BLOCKS, 4)


def test_ties():
    equal = rows(("a", [None, 1.0, 1.0, 2.0]))
    assert select(equal, 1) == ["a.1"]
    assert tied(equal, ["a.1"]) == ["a.2"]
    assert tied(BLOCKS, ["a.1"]) == []
