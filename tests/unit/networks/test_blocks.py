"""Which blocks may go, and what a removal leaves."""

import pytest
import torch
from torch import nn

from layerlottery.config.networks import NetworkSettings
from layerlottery.cost.network import macs, parameters
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import remove_blocks, residual_blocks
from layerlottery.networks.resnet import CifarResNet
from layerlottery.networks.selection import removal_order
from layerlottery.tickets import prune


def network(depth, shortcut="B"):
    return CifarResNet(NetworkSettings(depth=depth, shortcut=shortcut), channels=3, classes=10)


@pytest.mark.parametrize("shortcut", ["A", "B"])
@pytest.mark.parametrize(("depth", "most"), [(8, 0), (14, 0), (20, 3), (32, 9), (44, 15), (56, 21), (110, 48)])
def test_candidates_and_the_most_that_can_go(depth, most, shortcut):
    blocks = residual_blocks(network(depth, shortcut), keep_first=True)
    per_stage = (depth - 2) // 6
    assert len(blocks) == 3 * per_stage
    assert [b.name for b in blocks if not b.removable] == ["stage1.0", "stage2.0", "stage3.0"]
    rows = [{"name": b.name, "stage": b.stage, "removable": b.removable, "score": 0.0} for b in blocks]
    assert len(removal_order(rows)) == most == NetworkSettings(depth=depth).most_removable


@pytest.mark.parametrize("name", ["stage1.1", "stage2.3", "stage3.4"])
def test_every_removable_block_costs_the_same_macs(name):
    dense = network(32)
    small = remove_blocks(dense, [name])
    assert macs(dense, (3, 32, 32)) - macs(small, (3, 32, 32)) == 4_718_592
    block = dict(dense.named_modules())[name]
    assert parameters(dense) - parameters(small) == sum(p.numel() for p in block.parameters())


@pytest.mark.parametrize(
    ("depth", "removals", "percent"),
    # table 4 of Jordao et al. (the row printed as p = 4 is p = 5), the ladder of Pons et al.; 12 blocks of ResNet56
    # are printed as 45.00, which is 12 times the rounded 3.75
    [
        *[(32, 1, 6.82), (32, 3, 20.47), (32, 5, 34.13), (56, 3, 11.25), (56, 4, 15.00), (56, 5, 18.76)],
        *[(56, 12, 45.03), (32, 7, 47.78), (32, 9, 61.44), (44, 11, 53.27), (56, 21, 78.80), (110, 24, 44.73)],
    ],
)
def test_published_flops_reductions(depth, removals, percent):
    dense = network(depth)
    gone = [b.name for b in residual_blocks(dense, keep_first=True) if b.removable][:removals]
    small = remove_blocks(dense, gone)
    assert 100 * (1 - macs(small, (3, 32, 32)) / macs(dense, (3, 32, 32))) == pytest.approx(percent, abs=0.02)


def test_kept_blocks_keep_names_and_weights_and_the_argument_is_untouched():
    dense = network(20)
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    small = remove_blocks(dense, ["stage1.2", "stage3.1"])
    after = small.state_dict()
    gone = {name for name in before if name.startswith(("stage1.2.", "stage3.1."))}
    assert set(after) == set(before) - gone
    assert all(torch.equal(after[name], before[name]) for name in after)
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())
    small.stem[0].weight.data.zero_()
    assert dense.stem[0].weight.any()


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_removal_equals_zeroing_the_branch(shortcut):
    dense = network(20, shortcut).eval()
    small = remove_blocks(dense, ["stage2.1"]).eval()
    # the block's input is not negative, so its last ReLU changes nothing once the branch is zero
    nn.init.zeros_(dense.stage2[1].bn2.weight)
    nn.init.zeros_(dense.stage2[1].bn2.bias)
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(small(x), dense(x))


@pytest.mark.parametrize("name", ["stage2.0", "stage9.1", "stem"])
def test_other_blocks_are_refused_by_name(name):
    with pytest.raises(LayerLotteryError, match=f"'{name}'.*removable are stage1.0, stage1.1, stage1.2"):
        prune(network(20), [name], example=torch.zeros(2, 3, 32, 32))
