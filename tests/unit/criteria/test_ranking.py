"""Scoring once, scoring again after every removal, ties."""

import math

import pytest

from layerlottery.config.criteria import CRITERIA
from layerlottery.criteria.ranking import may_go, rank_once, rank_one_by_one
from layerlottery.criteria.score import rank_blocks, score_blocks
from layerlottery.networks.blocks import remove_blocks, residual_blocks
from layerlottery.networks.selection import removal_order


def rows(model, ranking):
    return [
        {"name": b.name, "stage": b.stage, "removable": b.removable, "score": ranking.score.get(b.name)}
        for b in residual_blocks(model, keep_first=True)
    ]


def removable(model):
    return [block.name for block in residual_blocks(model, keep_first=True) if block.removable]


def test_once_keeps_the_values_and_turns_their_sign():
    values = {"a": 3.0, "b": 1.0, "c": 3.0}
    high, low = (rank_once(values, keep=keep) for keep in ("high", "low"))
    assert (high.raw, high.score, high.ties) == (values, values, ["a", "c"])
    assert (low.raw, low.score, low.ties) == (values, {"a": -3.0, "b": -1.0, "c": -3.0}, ["a", "c"])


def test_one_by_one_the_order_differs_from_one_shot_by_hand(shifting, settings):
    model, batch = shifting
    # outputs 1, 1 + 4, 5 - 3, 2 + 1: the third block goes, then the fourth
    once = rank_blocks(model, batch, settings("expectabs"))
    assert once.raw == {"stage.1": 5.0, "stage.2": 2.0, "stage.3": 3.0}
    assert removal_order(rows(model, once)) == ["stage.2", "stage.3"]
    # without the third the fourth puts out 5 + 1, above the second's 5; without that 1 + 1
    again = rank_blocks(model, batch, settings("expectabs", select="one_by_one"))
    assert removal_order(rows(model, again)) == ["stage.2", "stage.1"]
    assert again.score == {"stage.1": 1.0, "stage.2": 0.0, "stage.3": 2.0}
    assert again.raw == {"stage.1": 5.0, "stage.2": 2.0, "stage.3": 2.0}


def test_one_by_one_where_low_scores_survive_by_hand(shifting, settings):
    # outputs 5, 2, 3: the second goes; then 1 - 3 is 0 after its ReLU and 0 + 1 is 1: the fourth goes
    ranking = rank_blocks(*shifting, settings("expectabs", select="one_by_one", keep="low"))
    assert ranking.score == {"stage.1": 0.0, "stage.2": 2.0, "stage.3": 1.0}
    assert ranking.raw == {"stage.1": 5.0, "stage.2": 0.0, "stage.3": 1.0}


@pytest.mark.parametrize(
    ("function", "keep"),
    [
        *((function, "high") for function in sorted({one.function for one in CRITERIA.values() if one.fits("layers")})),
        ("snip", "low"),
    ],
)
def test_each_round_takes_the_worst_of_the_network_that_is_left(function, keep, make_network, make_batch, settings):
    model, batch = make_network(width=2), make_batch()
    ranking = rank_blocks(model, batch, settings(function, select="one_by_one", keep=keep), seed=4)
    assert list(ranking.score) == list(ranking.raw) == removable(model)
    # three blocks a stage, one of which may go
    assert sorted(ranking.score.values()) == [0, 1, 2, 3, 3, 3]
    gone = sorted((name for name in ranking.score if ranking.score[name] < 3), key=ranking.score.get)
    assert len({name.partition(".")[0] for name in gone}) == 3
    assert removal_order(rows(model, ranking)) == gone
    worst = min if keep == "high" else max
    for number, name in enumerate(gone):
        small = remove_blocks(model, gone[:number])
        left = residual_blocks(small, keep_first=True)
        if not function.startswith("random"):
            values = score_blocks(small, batch, settings(function), seed=4)
            assert ranking.raw[name] == values[name] == worst(values[other] for other in may_go(left))


@pytest.mark.parametrize("function", ["random", "random_spread", "l1"])
def test_iterating_changes_no_order_that_the_other_blocks_do_not_touch(function, make_network, make_batch, settings):
    model, batch = make_network(depth=26, width=2), make_batch()
    for seed in range(3):
        once, again = (
            rank_blocks(model, batch, settings(function, select=select), seed=seed)
            for select in ("lowest", "one_by_one")
        )
        assert removal_order(rows(model, once)) == removal_order(rows(model, again))
        assert again.raw == once.raw


def test_a_network_that_may_lose_nothing_is_scored_all_the_same(make_network, make_batch, settings):
    model = make_network(depth=14, width=2)
    ranking = rank_blocks(model, make_batch(), settings("l1", select="one_by_one"))
    assert set(ranking.score.values()) == {0}
    assert ranking.raw == score_blocks(model, make_batch(), settings("l1"))
    assert ranking.ties == []


def test_no_removable_block_no_score(make_network, make_batch, settings):
    assert rank_blocks(make_network(depth=8), make_batch(), settings("snip")).raw == {}


def test_ties_of_rounds_are_those_of_the_lowest(make_network):
    # stage1.1 and stage1.2 are equally low when one goes; stage2's are equal too, but 3 was lowest then
    model = make_network(width=2)
    values = {"stage1.1": 1.0, "stage1.2": 1.0, "stage2.1": 5.0, "stage2.2": 3.0, "stage3.1": 7.0, "stage3.2": 7.0}
    later = {name: values[name] + (name == "stage3.1") for name in values}

    def evaluate(gone):
        return {name: later[name] for name in later if name not in gone}

    ranking = rank_one_by_one(residual_blocks(model, keep_first=True), values, evaluate, keep="high")
    assert ranking.ties == ["stage1.1", "stage1.2"]
    assert ranking.score == {
        "stage1.1": 0,
        "stage1.2": 3,
        "stage2.1": 3,
        "stage2.2": 1,
        "stage3.1": 3,
        "stage3.2": 2,
    }
    assert math.isclose(ranking.raw["stage3.1"], 8.0)
