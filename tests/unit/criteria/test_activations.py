"""HRank and expectABS against hand-made maps, NumPy and a planted network."""

import numpy as np
import pytest
import torch
from torch import nn

from layerlottery.criteria.activations import relative_rank
from layerlottery.criteria.score import score_blocks
from layerlottery.criteria.scoring import Scoring, values
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.blocks import Block, residual_blocks


def plain_scores(model, block, images, chosen):
    """Of one block of the network as it is, for images without labels."""
    return values(Scoring(model, (images, None), chosen, blocks=[Block(block, "toy", True)]))


def block_outputs(model, images):
    """Outputs of the removable blocks, by walking through the network."""
    removable = {block.name for block in residual_blocks(model, keep_first=True) if block.removable}
    found, x = {}, model.stem(images)
    for stage in ("stage1", "stage2", "stage3"):
        for name, block in getattr(model, stage).named_children():
            x = block(x)
            if f"{stage}.{name}" in removable:
                found[f"{stage}.{name}"] = x.detach().numpy()
    return found


def test_rank_of_maps_by_hand():
    maps = torch.zeros(1, 4, 3, 3)
    maps[0, 0] = torch.eye(3)
    maps[0, 1] = 1.0
    maps[0, 2] = torch.tensor([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [0.0, 0.0, 5.0]])
    assert relative_rank(maps).tolist() == [pytest.approx([3 / 3, 1 / 3, 2 / 3, 0])]


def test_rank_is_divided_by_the_longer_side():
    assert relative_rank(torch.eye(2, 5).expand(1, 1, 2, 5)).item() == pytest.approx(2 / 5)


def test_hrank_against_numpy(make_network, make_batch, settings):
    model, batch = make_network().eval(), make_batch()
    expected = {
        name: np.mean([[np.linalg.matrix_rank(one) for one in image] for image in maps]) / max(maps.shape[2:])
        for name, maps in block_outputs(model, batch[0]).items()
    }
    assert len(set(expected.values())) > 1
    assert score_blocks(model, batch, settings("hrank")) == pytest.approx(expected)


def test_expectabs_against_numpy(make_network, make_batch, settings):
    model, batch = make_network().eval(), make_batch()
    expected = {name: np.abs(maps).mean() for name, maps in block_outputs(model, batch[0]).items()}
    assert score_blocks(model, batch, settings("expectabs")) == pytest.approx(expected, rel=1e-5)


def test_expectabs_counts_negative_outputs_by_their_size(settings):
    model = nn.ModuleDict({"block": nn.Identity()})
    model.forward = lambda x: model["block"](x)
    images = torch.tensor([-3.0, 1.0]).view(1, 1, 1, 2)
    assert plain_scores(model, "block", images, settings("expectabs")) == {"block": 2.0}


def test_images_beyond_one_part_count_as_much(settings):
    model = nn.ModuleDict({"block": nn.Identity()})
    model.forward = lambda x: model["block"](x)
    model.eval()
    images = torch.cat([torch.zeros(100, 1, 2, 2), torch.eye(2).expand(50, 1, 2, 2)])
    assert plain_scores(model, "block", images, settings("hrank"))["block"] == pytest.approx(1 / 3)
    assert plain_scores(model, "block", images, settings("expectabs"))["block"] == pytest.approx(1 / 6)


def test_planted_block_by_hand(planted, settings):
    model, batch = planted
    # channel 0 has rank 1 everywhere; channel 1 has rank 1 behind stage.2 for class 1, else 0; maps are 4x4
    assert score_blocks(model, batch, settings("hrank")) == pytest.approx({"stage.1": 0.5 / 4, "stage.2": 0.75 / 4})
    # mean of channel 0 is 1; channel 1 gets 2s - 1.4, 0.6 on average, on half the pixels of half the images
    expected = {"stage.1": 0.5, "stage.2": (1 + 0.6 / 4) / 2}
    assert score_blocks(model, batch, settings("expectabs")) == pytest.approx(expected)


@pytest.mark.parametrize("function", ["hrank", "expectabs", "pls"])
def test_an_output_that_is_not_finite_names_the_first_block(function, make_network, make_batch, settings):
    model = make_network()
    model.stage2[1].conv1.weight.data.fill_(float("inf"))
    with pytest.raises(LayerLotteryError, match=r"block stage2\.1: found outputs that are not finite"):
        score_blocks(model, make_batch(), settings(function))


def test_outputs_count_before_a_later_layer_writes_into_them(settings):
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    images = torch.tensor([-3.0, 1.0]).view(1, 1, 1, 2)
    assert plain_scores(model, "0", images, settings("expectabs")) == {"0": 2.0}
