"""The fused step against torch.optim.SGD, and that no training imports torch's compiler."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from layerlottery.config.training import TrainingSettings
from layerlottery.training.optimizer import MomentumSGD


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.0, False)])
def test_steps_are_torch_s(momentum, nesterov, layout):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)).double().to(memory_format=layout)
    twin = copy.deepcopy(model)
    settings = TrainingSettings(learning_rate=0.3, momentum=momentum, nesterov=nesterov, weight_decay=0.02)
    ours = MomentumSGD(model.named_parameters(), settings)
    theirs = torch.optim.SGD(
        twin.parameters(), lr=0.3, momentum=momentum, nesterov=nesterov, weight_decay=0.02, foreach=False
    )
    for rate in (0.3, 0.1, 0.2):
        images = torch.randn(5, 3, 4, 4, dtype=torch.float64)
        ours.learning_rate = theirs.param_groups[0]["lr"] = rate
        for network, optimizer in ((model, ours), (twin, theirs)):
            optimizer.zero_grad()
            network(images).square().sum().backward()
            optimizer.step()
        for found, wanted in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


def test_what_has_no_gradient_stays():
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model[1].requires_grad_(False)
    before = model[1].weight.clone()
    optimizer = MomentumSGD(model.named_parameters(), TrainingSettings(weight_decay=0.5))
    model[0](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(model[1].weight, before)
    assert not optimizer.momentum["1.weight"].any()


def test_the_compiler_is_not_imported():
    program = """
import sys, torch
from layerlottery.config.training import TrainingSettings
from layerlottery.training.recipe import make_optimizer
layer = torch.nn.Linear(2, 2)
optimizer = make_optimizer(layer, TrainingSettings())
optimizer.zero_grad()
layer(torch.ones(1, 2)).sum().backward()
optimizer.step()
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]


def test_the_penalty_may_be_on_convolutions_alone():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 36, 4))
    reference = copy.deepcopy(model)
    settings = TrainingSettings(weight_decay=0.1, decayed="convolutions", learning_rate=0.05)
    ours = MomentumSGD(model.named_parameters(), settings)
    kernels = [one for one in reference.parameters() if one.dim() == 4]
    others = [one for one in reference.parameters() if one.dim() != 4]
    groups = [{"params": kernels, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    theirs = torch.optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True)
    images = torch.randn(5, 1, 8, 8)
    for _ in range(3):
        for net, optimizer in ((model, ours), (reference, theirs)):
            optimizer.zero_grad()
            net(images).square().sum().backward()
            optimizer.step()
    for one, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other)
