"""Block influence and angular distance against plain loops over positions, and what they can't look at."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from layerlottery.config.networks import VisionTransformerSettings
from layerlottery.criteria.ranking import spans_of
from layerlottery.criteria.score import rank_blocks, score_blocks
from layerlottery.criteria.scoring import Scoring, evaluate, values
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, residual_blocks
from layerlottery.networks.zoo.vit import build


def streams(model, images):
    """Input and output of each block of a CIFAR ResNet as arrays (N, C, H, W), by walking through the network."""
    found, x = {}, model.stem(images)
    for stage in ("stage1", "stage2", "stage3"):
        for name, block in getattr(model, stage).named_children():
            before, x = x, block(x)
            found[f"{stage}.{name}"] = before.detach().double().numpy(), x.detach().double().numpy()
    return found


def cosines(before, after):
    """Of every image and position, one after the other."""
    count, _, height, width = before.shape
    for image, row, column in np.ndindex(count, height, width):
        one, other = before[image, :, row, column], after[image, :, row, column]
        lengths = np.linalg.norm(one) * np.linalg.norm(other)
        yield one @ other / lengths if lengths else float(not one.any() and not other.any())


@pytest.fixture
def scored(make_network, make_batch):
    """A network in eval mode with running statistics of its own, a batch, and its streams."""
    model, (images, labels) = make_network(depth=26), make_batch(4)
    with torch.no_grad():
        model.train()(images)
    return model.eval(), (images, labels), streams(model, images)


def test_influence_against_loops(scored, settings):
    model, batch, passing = scored
    found = score_blocks(model, batch, settings("influence"))
    assert found == pytest.approx({name: 1 - np.mean([*cosines(*passing[name])]) for name in found}, rel=1e-5)
    assert len(set(found.values())) > 1


def test_angles_of_all_spans_against_loops(scored, settings):
    model, batch, passing = scored
    blocks = residual_blocks(model, batch[0], keep_first=True)
    removable, spans = [block for block in blocks if block.removable], spans_of(blocks)
    assert list(spans) == [
        f"stage{stage}.{names}"
        for stage in (1, 2, 3)
        for names in ("1", f"1 to stage{stage}.2", f"1 to stage{stage}.3", "2", f"2 to stage{stage}.3", "3")
    ]
    found = evaluate(Scoring(model, batch, settings("angular"), blocks=removable, spans=spans))
    assert list(found) == list(spans)
    for called, span in spans.items():
        turned = cosines(passing[span[0]][0], passing[span[-1]][1])
        expected = np.mean([math.acos(min(1.0, max(-1.0, cosine))) / math.pi for cosine in turned])
        assert found[called] == pytest.approx(expected, rel=1e-4)


def test_zeros_that_stay_zeros_are_not_turned(settings):
    # one position of two channels an image: zeros stay, zeros become something, a right angle, a straight one
    images = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]).view(4, 2, 1, 1)
    outputs = torch.tensor([[0.0, 0.0], [3.0, 1.0], [0.0, 2.0], [-5.0, 0.0]]).view(4, 2, 1, 1)

    class Fixed(nn.Module):
        def forward(self, x):
            return outputs

    model, blocks = nn.Sequential(Fixed()), [Block("0", "toy", True)]
    given = Scoring(model, (images, None), settings("influence"), blocks=blocks)
    assert values(given) == {"0": pytest.approx((0 + 1 + 1 + 2) / 4)}
    given = Scoring(model, (images, None), settings("angular"), blocks=blocks)
    assert values(given) == {"0": pytest.approx((0 + 0.5 + 0.5 + 1) / 4)}


def test_tokens_are_the_positions_of_a_transformer(settings):
    torch.manual_seed(0)
    model = build(
        VisionTransformerSettings(family="vit", layers=3, heads=2, hidden=8, mlp=16),
        channels=3,
        classes=4,
        image_size=8,
    ).eval()
    images = torch.randn(3, 3, 8, 8)
    found = score_blocks(model, (images, torch.arange(3)), settings("influence"), blocks=residual_blocks(model, images))
    held = {}
    for name in found:
        module = model.get_submodule(name)
        module.register_forward_hook(lambda _, given, out, name=name: held.update({name: (given[0], out)}))
    model(images)
    for name, (before, after) in held.items():
        one, other = before.detach().double().numpy(), after.detach().double().numpy()
        turned = (one * other).sum(-1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1))
        assert turned.ndim == 2
        assert found[name] == pytest.approx(1 - turned.mean(), rel=1e-5)


def test_branches_are_given_no_stream(settings):
    model = build(
        VisionTransformerSettings(family="vit", layers=2, heads=2, hidden=8, mlp=16),
        channels=3,
        classes=4,
        image_size=8,
    ).eval()
    images = torch.randn(2, 3, 8, 8)
    blocks = residual_blocks(model, images, branches=True)
    with pytest.raises(LayerLotteryError, match=r"^block \S+: is a branch, which is given no stream; allowed: blocks$"):
        rank_blocks(model, (images, torch.arange(2)), settings("influence"), blocks=blocks)
