"""Masked weights stay zero through everything that happens to a network."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from layerlottery.cost.network import macs, parameters
from layerlottery.networks.masks import Mask, fold_masks, masked_weights
from layerlottery.networks.weights import build, load_network, save_network

DENSE = {"network": {"depth": 8, "width": 4}, "channels": 1, "classes": 3, "removed_blocks": []}
MASKED = DENSE | {"masked": {"stem.0": 5, "stage2.0.conv1": 100}}


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = build(MASKED)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Mask):
                module.mask.copy_(module.mask.flatten()[torch.randperm(module.mask.numel())].view_as(module.mask))
    return model


def holes(model):
    return ~model.stem[0].parametrizations.weight[0].mask


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_masked_weights_stay_zero_through_training(model, layout):
    model = model.to(memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
    images, labels = torch.randn(6, 1, 8, 8), torch.arange(6) % 3
    before = model.stem[0].weight.detach().clone()
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    weight = model.stem[0].weight
    assert (weight[holes(model)] == 0).all()
    assert (weight[~holes(model)] != before[~holes(model)]).all()
    assert int(holes(model).sum()) == 4 * 9 - 5


def test_masks_survive_files_and_copies(model, tmp_path):
    save_network(tmp_path / "masked.safetensors", model, {"architecture": MASKED}, config_hash="made")
    loaded, _ = load_network(tmp_path / "masked.safetensors")
    for other in (loaded, copy.deepcopy(model)):
        assert other.stem[0].parametrizations.weight[0].mask.dtype == torch.bool
        assert torch.equal(holes(other), holes(model))
        assert torch.equal(other.stem[0].weight, model.stem[0].weight)
    assert isinstance(loaded.stem[0], nn.Conv2d)


def test_counts(model):
    dense = build(DENSE)
    assert masked_weights(model) == (36 - 5) + (9 * 4 * 8 - 100)
    assert parameters(model) == parameters(dense) - masked_weights(model)
    assert macs(model, (1, 8, 8)) == macs(dense, (1, 8, 8))
    assert parameters(build(MASKED)) == parameters(model)


def test_folded_masks_are_plain_zeros(model):
    folded = fold_masks(model)
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(folded.eval()(images), model.eval()(images))
    assert [type(module) for module in folded.modules()] == [type(module) for module in build(DENSE).modules()]
    assert masked_weights(folded) == 0 < masked_weights(model)
    assert (folded.stem[0].weight[holes(model)] == 0).all()
    # a second copy is made from an original that still works
    assert str(fold_masks(model)) == str(folded)


def test_a_mask_hides_what_is_not_finite():
    mask = Mask(torch.Size([3]), 2)
    assert torch.equal(mask(torch.tensor([1.0, -2.0, torch.nan])), torch.tensor([1.0, -2.0, 0.0]))
