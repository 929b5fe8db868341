"""The fast forms of networks against the plain ones, in float64, where all but the last digits must agree."""

import copy
import ctypes
import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from layerlottery.config.networks import NetworkSettings, PreactResNetSettings
from layerlottery.networks.masks import add_masks
from layerlottery.networks.resnet import TwoForms, initialize
from layerlottery.networks.zoo import construct
from layerlottery.training.kernels import accelerate

LAYOUTS = [torch.channels_last, torch.contiguous_format]


def gradients(model, images, expected):
    """Loss, and the gradients of images and parameters, in one list."""
    images = images.clone(memory_format=torch.preserve_format).requires_grad_()
    loss = (model(images) * expected).sum()
    return [loss.detach(), *torch.autograd.grad(loss, [images, *model.parameters()])]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 2), (3, 2), (4, 4)])
def test_a_convolution_of_tiny_maps_is_the_convolution(size, layout, monkeypatch):
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 4, 3, padding=1, bias=False).double().to(memory_format=layout)
    fast = accelerate(TwoForms())
    fast.layer = layer
    fast.forward = lambda x: fast.convolve(layer, x)
    images = torch.randn(5, 6, *size, dtype=torch.float64).to(memory_format=layout)
    expected = torch.randn(5, 4, *size, dtype=torch.float64)
    plain = gradients(layer, images, expected)
    if max(size) <= 2:
        # the layer itself is passed over
        monkeypatch.setattr(layer, "forward", None)
    for found, wanted in zip(gradients(fast, images, expected), plain, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", [{"stride": 2}, {"bias": True}])
def test_other_convolutions_of_tiny_maps_are_called(options):
    layer = nn.Conv2d(6, 4, 3, padding=1, **({"bias": False} | options))
    images = torch.randn(5, 6, 2, 2)
    assert torch.equal(accelerate(TwoForms()).convolve(layer, images), layer(images))


def network(**settings):
    return initialized(NetworkSettings(**settings))


def initialized(settings):
    model = construct(settings, channels=1, classes=10)
    initialize(model, seed=1)
    return model


NETWORKS = {
    "padded": NetworkSettings(depth=14, width=4, shortcut="A"),
    "projected": NetworkSettings(depth=14, width=4, shortcut="B"),
    "preact": PreactResNetSettings(family="preact_resnet", depth=14, width=4),
}


def backward(model, images, labels, **autocast):
    """All gradients of one training step, in one vector."""
    model = copy.deepcopy(model).train()
    with torch.autocast("cpu", torch.bfloat16, **autocast):
        logits = model(images)
    F.cross_entropy(logits if logits.dtype == torch.float64 else logits.float(), labels).backward()
    return torch.cat([parameter.grad.double().flatten() for parameter in model.parameters()]), model


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_s_step_is_the_same(kind):
    plain = initialized(NETWORKS[kind]).double()
    fast = accelerate(copy.deepcopy(plain))
    assert {module.fast for module in fast.modules() if isinstance(module, TwoForms)} == {True}
    images = torch.randn(8, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8)
    wanted, after = backward(plain, images, labels, enabled=False)
    found, also = backward(fast, images, labels, enabled=False)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)
    # the running statistics, too, and under the same names
    torch.testing.assert_close(dict(also.state_dict()), dict(after.state_dict()), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_step_may_follow_an_evaluation(kind):
    # as in a training that is resumed after an epoch's last batch
    model = accelerate(initialized(NETWORKS[kind]))
    images = torch.rand(4, 1, 8, 8)
    with torch.inference_mode():
        model.eval()(images)
    model.train()(images).sum().backward()


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_gradients_of_all_maps_keep_their_layout(shortcut):
    model = accelerate(network(depth=14, width=4, shortcut=shortcut).to(memory_format=torch.channels_last))
    kept = {}

    def look(name, maps):
        maps.register_hook(lambda gradient: kept.update({name: gradient.stride() == maps.stride()}))

    for name in [f"stage{stage}.{block}" for stage in (1, 2, 3) for block in (0, 1)]:
        model.get_submodule(name).register_forward_hook(lambda _, given, out, name=name: look(name, out))
    images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    F.cross_entropy(model(images.to(memory_format=torch.channels_last)), torch.arange(8)).backward()
    assert kept == dict.fromkeys(kept, True)
    assert len(kept) == 6


def test_in_bfloat16_gradients_are_no_further_from_the_exact_ones():
    def distance(model):
        found, _ = backward(model, images, labels, enabled=True)
        return ((found - exact).norm() / exact.norm()).item()

    plain = network(depth=8, width=4)
    images = torch.randn(25, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(25) % 10
    exact, _ = backward(plain.double(), images.double(), labels, enabled=False)
    plain = plain.float()
    assert distance(accelerate(copy.deepcopy(plain))) < 1.3 * distance(plain) < 0.5


def test_what_stands_in_for_a_layer_computes_what_it_did():
    plain = network(depth=20, width=2).double()
    add_masks(plain, {"stage3.1.conv1": 5})
    plain.stage1[1].bn2 = nn.Identity()
    fast = accelerate(copy.deepcopy(plain))
    images, labels = torch.randn(4, 1, 8, 8, dtype=torch.float64), torch.arange(4)
    wanted, _ = backward(plain, images, labels, enabled=False)
    found, trained = backward(fast, images, labels, enabled=False)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-10)
    # masked weights get no gradient
    held = trained.stage3[1].conv1.parametrizations.weight
    assert held.original.grad[~held[0].mask].abs().max() == 0


def test_acceleration_adds_no_name_and_no_weight():
    plain = network(depth=8, width=2)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    after = accelerate(plain).state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


KEPT = """
import resource, sys
import torch
from layerlottery.training.kernels import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for turn in range(10):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    # alive together, so that they do not all take the same place
    maps = [torch.ones(2**21) for _ in range(4)]
    del maps
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's malloc alone takes the setting")
def test_memory_of_freed_tensors_is_used_again():
    def faults(how):
        # where glibc may move this threshold, a plain process keeps memory too, if chance has it
        environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
        command = [sys.executable, "-c", KEPT, how]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return int(ran.stdout)

    # 8 MiB four times: 8192 pages of 4 KiB where the memory is new
    assert faults("kept") < 100 < faults("plain")
