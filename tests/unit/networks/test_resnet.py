"""CIFAR ResNets against published counts and hand-made forward passes."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from layerlottery.config.networks import NetworkSettings, named_network
from layerlottery.cost.network import macs, parameters
from layerlottery.networks.initialize import drawn
from layerlottery.networks.resnet import BasicBlock, CifarResNet, PaddedShortcut, ProjectedShortcut, initialize
from layerlottery.networks.weights import dense_architecture


def network(depth, **settings):
    return CifarResNet(NetworkSettings(depth=depth, **settings), channels=3, classes=10)


# (depth, parameters and millions of MACs with projections, the same with padding)
COUNTS = [
    (20, 272_474, 40.81, 269_722, 40.55),
    (32, 466_906, 69.12, 464_154, 68.86),
    (44, 661_338, 97.44, 658_586, 97.17),
    (56, 855_770, 125.75, 853_018, 125.49),
    (110, 1_730_714, 253.15, 1_727_962, 252.89),
]


@pytest.mark.parametrize(("depth", "params_b", "macs_b", "params_a", "macs_a"), COUNTS)
def test_published_parameter_and_mac_counts(depth, params_b, macs_b, params_a, macs_a):
    for shortcut, params, millions in (("B", params_b, macs_b), ("A", params_a, macs_a)):
        model = network(depth, shortcut=shortcut)
        assert parameters(model) == params
        assert macs(model, (3, 32, 32)) / 1e6 == pytest.approx(millions, abs=0.0051)


@pytest.mark.parametrize("size", [8, 9, 17, 28, 32, 33])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_any_size_from_8_and_any_channels(size, channels, shortcut):
    model = CifarResNet(NetworkSettings(depth=8, shortcut=shortcut), channels=channels, classes=7)
    assert model(torch.zeros(2, channels, size, size)).shape == (2, 7)


def test_block_is_two_convolutions_beside_the_identity():
    block = BasicBlock(4, 4, 1, shortcut="B").eval()
    for norm in (block.bn1, block.bn2):
        nn.init.uniform_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    x = torch.randn(3, 4, 5, 5)

    def normalized(norm, values):
        scale = (norm.running_var + norm.eps).rsqrt().view(1, -1, 1, 1)
        return (values - norm.running_mean.view(1, -1, 1, 1)) * scale

    inner = normalized(block.bn1, F.conv2d(x, block.conv1.weight, padding=1)).clamp(min=0)
    expected = (normalized(block.bn2, F.conv2d(inner, block.conv2.weight, padding=1)) + x).clamp(min=0)
    torch.testing.assert_close(block(x), expected)


def test_padded_shortcut_keeps_every_other_pixel_and_adds_empty_channels():
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).view(1, 2, 4, 4)
    out = PaddedShortcut(2, 4, 2)(x)
    assert out.shape == (1, 4, 2, 2)
    assert out[0, 1].tolist() == [[0, 2], [8, 10]]
    assert not out[0, 0].any()
    assert not out[0, 3].any()


def test_initial_weights_follow_the_seed_and_he():
    first, same, other = network(32), network(32), network(32)
    for model, seed in ((first, 1), (same, 1), (other, 2)):
        initialize(model, seed)
    states = [torch.cat([p.flatten() for p in model.parameters()]) for model in (first, same, other)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])
    # fan out of a 3x3 convolution with 64 filters: variance 2 / (64 * 9)
    weights = first.stage3[2].conv1.weight
    assert weights.var().item() == pytest.approx(2 / (64 * 9), rel=0.03)


def test_convolutions_start_as_they_always_did():
    # every layer by fan out, one after the other, the classifier last
    model, reference = network(20), network(20)
    initialize(model, 3)
    generator = torch.Generator().manual_seed(3)
    for module in reference.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
    expected = {name: one for name, one in reference.state_dict().items() if not name.startswith("classifier")}
    assert all(torch.equal(model.state_dict()[name], one) for name, one in expected.items())
    assert not model.classifier.bias.any()


def initial_losses(name, *, channels, size):
    """Cross-entropy (nats) of batches as training begins with them, over seeds: random images, or scanned digits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    scans = torch.tensor(digits.images[:200, None], dtype=torch.float32)
    images, labels = (scans - scans.mean()) / scans.std(), torch.tensor(digits.target[:200])
    if channels == 3:
        images, labels = torch.randn(64, 3, size, size, generator=torch.Generator().manual_seed(0)), labels[:64]
    settings = named_network(name)
    architecture = dense_architecture(settings, channels=channels, classes=10, image_size=size)
    for seed in range(3):
        model = drawn(settings, architecture, seed).train()
        with torch.no_grad():
            yield F.cross_entropy(model(images), labels).item()


NAMED = ["resnet20", "resnet56", "resnet110", "preresnet20", "preresnet110", "wrn-16-2", "vit_tiny"]


@pytest.mark.parametrize("name", [*NAMED, pytest.param("resnet302", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 16)])
def test_the_initial_loss_is_that_of_guessing_whatever_the_depth(name, channels, size):
    # guessing one of 10 classes costs 2.30 nats; 3.5 would be far off, and torch's own classifier exceeds it at 110
    assert max(initial_losses(name, channels=channels, size=size)) < 2.7


def test_drawing_weights_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    initialize(network(8), 3)
    # building draws from torch's own initialization; drawing itself must not
    model = network(8)
    state = torch.get_rng_state()
    initialize(model, 3)
    assert torch.equal(state, torch.get_rng_state())
    assert before.shape == state.shape


@pytest.mark.parametrize("size", [8, 9])
def test_projected_shortcut_is_a_strided_convolution(size):
    shortcut = ProjectedShortcut(3, 6, 2).eval()
    x = torch.randn(2, 3, size, size)
    scale = 1 / math.sqrt(1 + shortcut.bn.eps)
    torch.testing.assert_close(shortcut(x), F.conv2d(x, shortcut.conv.weight, stride=2) * scale)
