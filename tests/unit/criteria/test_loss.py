"""The loss without a block, and SLEB's greedy order, by taking blocks out one after the other."""

import pytest
import torch
from torch.nn import functional as F

from layerlottery.config.criteria import CRITERIA
from layerlottery.criteria.score import _in_batches, rank_blocks, score_blocks
from layerlottery.networks.blocks import remove_blocks, residual_blocks


def removable(model):
    return [block.name for block in residual_blocks(model, keep_first=True) if block.removable]


def loss_without(model, gone, batch):
    with torch.no_grad():
        return F.cross_entropy(remove_blocks(model, gone).eval()(batch[0]), batch[1]).item()


def test_loss_is_that_of_the_network_without_the_block(make_network, make_batch, settings):
    model, batch = make_network(), make_batch()
    expected = {name: loss_without(model, [name], batch) for name in removable(model)}
    found = score_blocks(model, batch, settings("loss"))
    assert found == pytest.approx(expected, rel=1e-5)
    apart = score_blocks(model, _in_batches(batch, settings("loss", batch_size=5)), settings("loss"))
    assert apart == pytest.approx(expected, rel=1e-5)


def test_sleb_removes_what_leaves_the_lowest_loss_and_looks_again(make_network, make_batch):
    # three blocks a stage may go one by one until two are left in each
    model, batch = make_network(depth=26, seed=3), make_batch()
    gone = []
    while len(gone) < 6:
        left = [
            name
            for name in removable(model)
            if name not in gone and sum(other.partition(".")[0] == name.partition(".")[0] for other in gone) < 2
        ]
        gone.append(min(left, key=lambda name: loss_without(model, [*gone, name], batch)))
    ranking = rank_blocks(model, batch, CRITERIA["sleb"])
    assert sorted((name for name in ranking.score if ranking.score[name] < 6), key=ranking.score.get) == gone
    once = rank_blocks(model, batch, CRITERIA["loss"])
    assert sorted(once.score, key=once.score.get)[:6] != gone


def test_a_block_that_the_class_hangs_on_stays(planted, settings):
    model, batch = planted
    found = score_blocks(model, batch, settings("loss"))
    assert found["stage.1"] < found["stage.2"]
