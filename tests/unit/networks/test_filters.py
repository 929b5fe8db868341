"""Coupled filters and networks without some of them, against zeroing and counts made by hand."""

import pytest
import torch
from torch import nn

from layerlottery.config.networks import NetworkSettings
from layerlottery.cost.network import filters, macs, parameters
from layerlottery.errors import LayerLotteryError
from layerlottery.networks.filters import cut_shapes, find_couplings, remove_filters
from layerlottery.networks.resnet import CifarResNet
from layerlottery.networks.weights import build, load_network, save_network

SMALL = {"network": {"depth": 14, "width": 4}, "channels": 3, "classes": 5, "removed_blocks": []}


@pytest.fixture
def dense():
    """A network with statistics and affine parameters that make every channel count."""
    torch.manual_seed(0)
    model = build(SMALL).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
    return model


@pytest.mark.parametrize(("depth", "count"), [(20, 784), (32, 1232), (56, 2128)])
def test_every_filter_is_in_one_coupling(depth, count):
    model = CifarResNet(NetworkSettings(depth=depth), channels=3, classes=10)
    couplings = find_couplings(model)
    assert sum(len(coupling.layers) * coupling.filters for coupling in couplings) == count == filters(model)
    # a stage's sum takes part in one coupling, every first convolution of a block in one of its own
    per_stage = (depth - 2) // 6
    assert sorted(len(coupling.layers) for coupling in couplings) == [1] * 3 * per_stage + [per_stage + 1] * 3
    assert [coupling.layer for coupling in couplings if len(coupling.layers) > 1] == [
        "stem.0",
        "stage2.0.conv2",
        "stage3.0.conv2",
    ]


def zeroed(model, writers, channel):
    for convolution, norm in writers:
        nn.init.zeros_(model.get_submodule(convolution).weight[channel])
        nn.init.zeros_(model.get_submodule(norm).weight[channel])
        nn.init.zeros_(model.get_submodule(norm).bias[channel])


@pytest.mark.parametrize(
    ("layer", "writers"),
    [
        ("stage2.1.conv1", [("stage2.1.conv1", "stage2.1.bn1")]),
        ("stem.0", [("stem.0", "stem.1"), *((f"stage1.{i}.conv2", f"stage1.{i}.bn2") for i in (0, 1))]),
        (
            "stage3.0.conv2",
            [
                ("stage3.0.shortcut.conv", "stage3.0.shortcut.bn"),
                *((f"stage3.{i}.conv2", f"stage3.{i}.bn2") for i in (0, 1)),
            ],
        ),
    ],
)
def test_removal_equals_zeroing_the_channels(dense, layer, writers):
    images = torch.randn(4, 3, 8, 8)
    before = dense(images)
    small = remove_filters(dense, {layer: [1, 2]})
    with torch.no_grad():
        for channel in (1, 2):
            zeroed(dense, writers, channel)
    torch.testing.assert_close(small(images), dense(images))
    assert not torch.allclose(before, dense(images))
    assert filters(dense) - filters(small) == 2 * len(writers)


def test_kept_weights_stay_bit_for_bit_and_the_argument_is_untouched(dense):
    before = {name: tensor.clone() for name, tensor in dense.state_dict().items()}
    small = remove_filters(dense, {"stem.0": [0], "stage1.1.conv1": [2]})
    assert all(torch.equal(tensor, before[name]) for name, tensor in dense.state_dict().items())
    assert torch.equal(small.stage1[1].conv1.weight, dense.stage1[1].conv1.weight[[0, 1, 3]][:, 1:])
    assert torch.equal(small.stage1[1].bn1.running_var, dense.stage1[1].bn1.running_var[[0, 1, 3]])
    assert torch.equal(small.stage3[1].conv2.weight, dense.stage3[1].conv2.weight)


def test_macs_and_parameters_of_one_filter_by_hand(dense):
    inner, coupled = (remove_filters(dense, {layer: [3]}) for layer in ("stage1.0.conv1", "stem.0"))
    shape = (3, 8, 8)
    # the filter's inputs, and the next convolution's outputs that read it
    assert macs(dense, shape) - macs(inner, shape) == 64 * 9 * (4 + 4)
    assert parameters(dense) - parameters(inner) == 9 * (4 + 4) + 2
    written, read, halved = 64 * 9 * (3 + 4 + 4), 64 * 9 * (4 + 4), 16 * (9 + 1) * 8
    assert macs(dense, shape) - macs(coupled, shape) == written + read + halved
    assert parameters(dense) - parameters(coupled) == 9 * 11 + 9 * 8 + 10 * 8 + 3 * 2


def test_file_round_trip_without_pruning_again(dense, tmp_path, monkeypatch):
    small = remove_filters(dense, {"stage2.0.conv2": [0, 7], "stage3.1.conv1": range(15)})
    architecture = SMALL | {"filters": cut_shapes(dense, small)}
    save_network(tmp_path / "small.safetensors", small, {"architecture": architecture}, config_hash="made")
    monkeypatch.setitem(__import__("sys").modules, "torch_pruning", None)
    loaded, facts = load_network(tmp_path / "small.safetensors")
    assert facts["architecture"] == architecture
    assert str(loaded) == str(small)
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(loaded.eval()(images), small(images))
    loaded.train()(images).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def test_zero_padding_shortcuts_are_refused():
    model = CifarResNet(NetworkSettings(depth=14, width=4, shortcut="A"), channels=3, classes=5)
    with pytest.raises(
        LayerLotteryError, match=r"structure filters: an addition joins stem\.0 of 4 filters .*shortcut B"
    ):
        find_couplings(model)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        ({"stage1.0.conv2": [0]}, r"filters of 'stage1\.0\.conv2' can't be removed; allowed: stem\.0, "),
        ({"stage1.0.conv1": [0, 1, 2, 3]}, r"stage1\.0\.conv1: can't lose filters .*it has 4, and one stays"),
        ({"stage1.0.conv1": [4]}, r"stage1\.0\.conv1: can't lose filters \[4\]"),
    ],
)
def test_impossible_removals_are_refused(dense, gone, message):
    with pytest.raises(LayerLotteryError, match=message):
        remove_filters(dense, gone)
