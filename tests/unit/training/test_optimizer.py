"""The fused steps against torch.optim.SGD and AdamW, and that no training imports torch's compiler."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from layerlottery.config.training import TrainingSettings
from layerlottery.training.optimizer import AdamW, MomentumSGD


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


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("decayed", ["all", "matrices"])
def test_steps_of_adamw_are_torch_s(decayed, layout):
    torch.manual_seed(0)
    # no bias before a norm: its gradient is rounding alone, which Adam would blow up
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), Tokens(), nn.Linear(4, 2))
    model = model.double().to(memory_format=layout)
    twin = copy.deepcopy(model)
    settings = TrainingSettings(optimizer="adamw", momentum=0.8, beta2=0.95, weight_decay=0.3, decayed=decayed)
    ours = AdamW(model.named_parameters(), settings)
    weights = [one for name, one in twin.named_parameters() if decayed == "all" or name in ("0.weight", "3.weight")]
    others = [one for one in twin.parameters() if all(one is not other for other in weights)]
    assert len(others) == (0 if decayed == "all" else 4)
    groups = [{"params": weights}, {"params": others, "weight_decay": 0.0}]
    theirs = torch.optim.AdamW(groups, lr=0.1, betas=(0.8, 0.95), weight_decay=0.3, foreach=False)
    for rate in (0.3, 0.1, 0.2):
        images = torch.randn(5, 3, 4, 4, dtype=torch.float64)
        ours.learning_rate = rate
        for group in theirs.param_groups:
            group["lr"] = rate
        for net, optimizer in ((model, ours), (twin, theirs)):
            optimizer.zero_grad()
            net(images).square().sum().backward()
            optimizer.step()
        for found, wanted in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)


class Tokens(nn.Module):
    """Maps as tokens (N, T, C), with positions as transformers have them."""

    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.ones(1, 4, 4))

    def forward(self, maps):
        return maps.flatten(2).transpose(1, 2) + self.positions


def test_adamw_counts_the_steps_of_each_parameter():
    # one that a step leaves out is corrected for its own steps alone, as torch does
    model = nn.ModuleList([nn.Linear(2, 2).double(), nn.Linear(2, 2).double()])
    twin = copy.deepcopy(model)
    ours = AdamW(model.named_parameters(), TrainingSettings(optimizer="adamw", learning_rate=0.1))
    theirs = torch.optim.AdamW(twin.parameters(), lr=0.1, weight_decay=1e-4, foreach=False)
    for used in (1, 2, 1, 2):
        for net, optimizer in ((model, ours), (twin, theirs)):
            optimizer.zero_grad()
            sum(layer(torch.ones(1, 2, dtype=torch.float64)).square().sum() for layer in net[:used]).backward()
            optimizer.step()
    torch.testing.assert_close(dict(model.state_dict()), dict(twin.state_dict()), rtol=1e-9, atol=1e-11)
    assert (ours.steps["0.weight"].item(), ours.steps["1.weight"].item()) == (4, 2)


def test_what_has_no_gradient_stays():
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    model[1].requires_grad_(False)
    before = model[1].weight.clone()
    optimizer = MomentumSGD(model.named_parameters(), TrainingSettings(weight_decay=0.5))
    model[0](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(model[1].weight, before)
    assert not optimizer.momentum["1.weight"].any()


@pytest.mark.parametrize("recipe", ["", 'optimizer="adamw", decayed="matrices"'])
def test_the_compiler_is_not_imported(recipe):
    program = f"""
import sys, torch
from layerlottery.config.training import TrainingSettings
from layerlottery.training.recipe import make_optimizer
layer = torch.nn.Linear(2, 2)
optimizer = make_optimizer(layer, TrainingSettings({recipe}))
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
