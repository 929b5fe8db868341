"""EASIER by hand and against NumPy, and rectifiers in every form that a network may have them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from layerlottery.criteria.rectifiers import AtRectifiers
from layerlottery.criteria.score import score_blocks
from layerlottery.criteria.scoring import Scoring, values
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, residual_blocks


def entropy(share):
    return 0.0 if share in (0, 1) else -share * np.log2(share) - (1 - share) * np.log2(1 - share)


def plain(model, images, chosen, name="0"):
    return values(Scoring(model, (images, None), chosen, blocks=[Block(name, "toy", True)]))[name]


@pytest.mark.parametrize("inplace", [False, True])
def test_entropy_by_hand(inplace, settings):
    # channel 0: 1 of 4 positive; channel 1: 2 of 3, for a zero is neither; channel 2: never
    images = torch.tensor([[1.0, 1.0, -1.0], [-1.0, 2.0, -3.0], [-2.0, 0.0, -1.0], [-1.0, -5.0, -1.0]])
    model = nn.Sequential(nn.Sequential(nn.Identity(), nn.ReLU(inplace=inplace)))
    expected = (entropy(1 / 4) + entropy(2 / 3) + 0) / 3
    assert plain(model, images.clone(), settings("sign_entropy")) == pytest.approx(expected)


def test_entropy_of_a_resnet_against_numpy(make_network, make_batch, settings):
    model, (images, labels) = make_network().eval(), make_batch()
    found = score_blocks(model, (images, labels), settings("sign_entropy"))
    x = model.stem(images)
    for stage in ("stage1", "stage2", "stage3"):
        for name, block in getattr(model, stage).named_children():
            inner = block.bn1(block.conv1(x))
            outer = block.bn2(block.conv2(inner.relu())) + block.shortcut(x)
            x = outer.relu()
            if f"{stage}.{name}" in found:
                layers = [
                    np.mean([entropy((one > 0).mean()) for one in maps.detach().numpy().swapaxes(0, 1)])
                    for maps in (inner, outer)
                ]
                assert found[f"{stage}.{name}"] == pytest.approx(np.mean(layers), rel=1e-4)
    assert len(found) == 6


def test_channels_are_where_the_layer_before_has_them(settings):
    # as in ConvNeXt: maps become (N, H, W, C) for a linear layer, and the rectifier follows it
    class Permuted(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 3)

        def forward(self, x):
            return F.gelu(self.linear(x.permute(0, 2, 3, 1)))

    torch.manual_seed(0)
    model, images = nn.Sequential(Permuted()), torch.randn(5, 2, 4, 4)
    given = model[0].linear(images.permute(0, 2, 3, 1)).detach().numpy().reshape(-1, 3)
    expected = np.mean([entropy((channel > 0).mean()) for channel in given.T])
    assert plain(model, images, settings("sign_entropy")) == pytest.approx(expected)


def test_a_block_without_rectifier_is_one_line(settings):
    with pytest.raises(LayerLotteryError, match=r"^block 0: found no rectifier; easier scores blocks that hold a ReLU"):
        plain(nn.Sequential(nn.Identity()), torch.ones(2, 3), settings("sign_entropy"))


@pytest.mark.parametrize(
    "rectify",
    [
        *(nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.LeakyReLU(), nn.PReLU(), nn.ELU(), nn.CELU(), nn.SELU()),
        *(nn.GELU(), nn.SiLU(), nn.Mish(), nn.Softplus(), nn.Hardswish(), nn.Hardtanh()),
        *(F.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_, lambda x: F.relu(input=x)),
    ],
)
def test_every_rectifier_is_seen_once(rectify):
    seen = []

    def note(function, stream, axis):
        seen.append(stream.clone())
        return function(stream)

    x = torch.tensor([-1.0, 2.0])
    with torch.no_grad(), AtRectifiers(note):
        out = rectify(x.clone())
    assert [one.tolist() for one in seen] == [[-1.0, 2.0]]
    with torch.no_grad():
        assert torch.equal(out, rectify(x.clone()))


def test_blocks_of_a_real_network_have_one_value_each(make_network, make_batch, settings):
    model, batch = make_network(depth=26), make_batch()
    removable = [block.name for block in residual_blocks(model, keep_first=True) if block.removable]
    found = score_blocks(model, batch, settings("sign_entropy"))
    assert list(found) == removable
    assert all(0 < value <= 1 for value in found.values())
