"""Folded networks give the same logits and input gradients as the plain ones they come from."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from layerlottery.config.networks import NetworkSettings
from layerlottery.networks.blocks import remove_blocks, residual_blocks
from layerlottery.networks.filters import find_couplings, remove_filters
from layerlottery.networks.masks import Mask, add_masks
from layerlottery.networks.predictor import Predictor, fold
from layerlottery.networks.resnet import CifarResNet, initialize


def network(shortcut="B", depth=20):
    """A network whose BatchNorm does something."""
    model = CifarResNet(NetworkSettings(depth=depth, width=6, shortcut=shortcut), channels=3, classes=10)
    initialize(model, seed=0)
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.5, 0.5),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.2, 2.0),
            ):
                tensor.uniform_(low, high, generator=generator)
    return model.eval()


def without_blocks():
    model = network()
    gone = [block.name for block in residual_blocks(model, keep_first=True) if block.removable][:2]
    return remove_blocks(model, gone).eval()


def without_filters():
    model = network()
    return remove_filters(model, {coupling.layer: [0, 2] for coupling in find_couplings(model)[1:4]})


def masked():
    model = network()
    add_masks(model, {"stage1.0.conv1": 100, "stage3.1.conv2": 500})
    return model


MAKERS = {
    "projected": network,
    "padded": lambda: network("A"),
    "shallow": lambda: network(depth=8),
    "without blocks": without_blocks,
    "without filters": without_filters,
    "masked": masked,
}


def logits_and_gradient(model, images):
    images = images.clone().requires_grad_(True)
    logits = model(images)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, torch.arange(len(images)) % 10), images)
    return logits.detach(), gradient


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_folding_changes_neither_logits_nor_gradients(kind, layout):
    plain = MAKERS[kind]()
    state = copy.deepcopy(plain.state_dict())
    folded = fold(plain).requires_grad_(False).to(memory_format=layout)
    images = torch.randn(12, 3, 16, 16, generator=torch.Generator().manual_seed(2)).contiguous(memory_format=layout)
    wanted = logits_and_gradient(copy.deepcopy(plain).double(), images.double())
    found = logits_and_gradient(folded, images)
    for one, other in zip(wanted, found, strict=True):
        assert torch.allclose(one, other.double(), rtol=1e-4, atol=1e-5 * float(one.abs().max()))
    assert plain.state_dict().keys() == state.keys()  # the original is as it was
    assert all(torch.equal(plain.state_dict()[name], state[name]) for name in state)
    assert not any(isinstance(module, nn.BatchNorm2d | Mask) for module in folded.modules())
    assert [block.name for block in residual_blocks(folded)] == [block.name for block in residual_blocks(plain)]


def test_images_stay_as_they_are_and_are_normalised():
    plain = network()
    predictor = Predictor(fold(plain), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)).requires_grad_(False)
    images = torch.rand(4, 3, 16, 16)
    before = images.clone()
    mean, std = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1), torch.tensor([0.2, 0.25, 0.3]).view(3, 1, 1)
    assert torch.allclose(predictor(images), plain((images - mean) / std), rtol=1e-4, atol=1e-4)
    assert torch.equal(images, before)


def test_a_diverged_network_stays_diverged():
    plain = network()
    plain.stem[1].running_var.fill_(float("nan"))
    assert not fold(plain)(torch.rand(2, 3, 16, 16)).isfinite().any()
