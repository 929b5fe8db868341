"""Networks that overwrite what gradients need: one line that names the module and what to write instead."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import layerlottery as ll


class Block(nn.Module):
    def __init__(self, width, join):
        super().__init__()
        self.conv, self.norm, self.join = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), join

    def forward(self, x):
        return self.join(x, torch.relu(self.norm(self.conv(x))))


def added(x, f):
    return x + f


def plus_equals(x, f):
    x += f
    return x


def method(x, f):
    return x.add_(f)


def into_what_relu_gave(x, f):
    f += x
    return f


def into_what_only_norm_gave(x, f):
    # as torchvision's residual blocks do: no gradient needs that sum
    f = f * 2
    f += x
    return f


BATCH = torch.rand(6, 3, 8, 8), torch.arange(6)


def network(join):
    torch.manual_seed(0)
    blocks = nn.Sequential(Block(4, added), Block(4, join), Block(4, added))
    tail = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6))
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), blocks, tail)


@pytest.mark.parametrize("criterion", ["snip", "grasp", "synflow"])
@pytest.mark.parametrize("join", [plus_equals, method, into_what_relu_gave])
def test_the_block_is_named(join, criterion):
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        F.cross_entropy(network(join)(BATCH[0]), BATCH[1]).backward()
    with pytest.raises(ll.LayerLotteryError, match=r"^1\.1: add_ \(or \+=\) overwrites .* x = x \+ f\(x\)") as error:
        ll.score(network(join), BATCH, criterion)
    assert "\n" not in str(error.value)


def test_what_no_gradient_needs_may_be_overwritten():
    plain = ll.score(network(lambda x, f: x + f * 2), BATCH, "snip")
    assert ll.score(network(into_what_only_norm_gave), BATCH, "snip") == pytest.approx(plain, rel=1e-6)


def test_a_loss_that_overwrites_the_answer_is_told_too():
    def loss(answer, targets):
        shares = answer.softmax(1)
        shares *= 2
        return F.nll_loss(shares, targets)

    with pytest.raises(ll.LayerLotteryError, match=r"^the network or its loss overwrites a tensor that gradients need"):
        ll.score(network(added), BATCH, "snip", loss=loss)
