"""Small networks and images for all tests of the criteria."""

import pytest
import torch
from torch import nn

from layerlottery.config.criteria import CriterionSettings
from layerlottery.config.networks import NetworkSettings
from layerlottery.networks.resnet import BasicBlock, CifarResNet, initialize


@pytest.fixture
def make_network():
    def make(depth=20, width=4, seed=0):
        model = CifarResNet(NetworkSettings(depth=depth, width=width), channels=3, classes=4)
        initialize(model, seed)
        return model

    return make


@pytest.fixture
def make_batch():
    def make(count=12, dtype=torch.float32):
        generator = torch.Generator().manual_seed(7)
        images = torch.randn(count, 3, 8, 8, generator=generator, dtype=dtype)
        return images, torch.arange(count) % 4

    return make


@pytest.fixture
def settings():
    def make(function, **changes):
        return CriterionSettings(function=function, **{"batchnorm": "eval", **changes})

    return make


class Stage(nn.Module):
    """Residual blocks of equal shape in one stage, the mean over pixels, a linear layer."""

    def __init__(self, blocks, channels, classes):
        super().__init__()
        self.stage = nn.Sequential(*(BasicBlock(channels, channels, 1, shortcut="B") for _ in range(blocks)))
        self.classifier = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
        for parameter in self.parameters():
            parameter.data.zero_()
        self.eval()

    def forward(self, x):
        return self.classifier(self.stage(x).mean(dim=(2, 3)))


@pytest.fixture
def planted():
    """Three blocks: the first and `stage.1` pass on their input, `stage.2` alone makes the class visible.

    Class 0 is s all over, class 1 is 2s in the left half and 0 in the right one: equal means, for the same
    five s. stage.2 adds relu(x - 1.4) of channel 0 to channel 1, which is 0 until then; 2s - 1.4 on the left
    for class 1, 0 for class 0. The logits are (0, 3 times the mean of channel 1).
    """
    model = Stage(blocks=3, channels=2, classes=2)
    model.stage[1].conv1.weight.data.fill_(0.3)
    model.stage[1].conv2.weight.data.fill_(-0.7)
    essential = model.stage[2]
    essential.conv1.weight.data[1, 0, 1, 1] = 1.0
    essential.conv2.weight.data[1, 1, 1, 1] = 1.0
    essential.bn1.weight.data.fill_(1.0)
    essential.bn1.bias.data[1] = -1.4
    essential.bn2.weight.data.fill_(1.0)
    model.classifier.weight.data[1, 1] = 3.0
    images = torch.zeros(10, 2, 4, 4)
    for number, scale in enumerate([0.8, 0.9, 1.0, 1.1, 1.2]):
        images[number, 0] = scale
        images[5 + number, 0, :, :2] = 2 * scale
    return model, (images, torch.tensor([0] * 5 + [1] * 5))


@pytest.fixture
def shifting():
    """Four blocks of one channel that add 0, 4, -3 and 1 before their ReLU, and images of ones."""
    model = Stage(blocks=4, channels=1, classes=2)
    for block, shift in zip(model.stage, [0.0, 4.0, -3.0, 1.0], strict=True):
        block.bn2.bias.data.fill_(shift)
    return model, (torch.ones(2, 1, 2, 2), torch.tensor([0, 1]))
